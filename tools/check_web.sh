#!/usr/bin/env bash
# A fresh build of web/src gives the bytes of web/dist, and they keep their budgets (gzip -9): 45 KB before the first
# key press, 200 KB in all; 40 packages, each with its hash in the lock file. Works in a copy: the checkout stays as it is.
set -euo pipefail
cd "$(dirname "$0")/.."
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
git ls-files -co --exclude-standard web docs/reference/monitor.schema.json ':!web/dist' | while read -r file; do [[ ! -f $file ]] || echo "$file"; done | tar -cT - | tar -xC "$copy"
(cd "$copy/web" && npm ci --ignore-scripts --no-audit --no-fund --silent && npm run build --silent >/dev/null)
if ! diff -rq "$copy/web/dist" web/dist; then
  echo "check_web.sh: web/dist is not what web/src builds; run npm ci --ignore-scripts && npm run build in web/ and commit dist/" >&2
  exit 1
fi

node -e '
  const packages = (file) => Object.entries(require(file).packages).filter(([name]) => name);
  const bare = packages(process.argv[1]).filter(([, entry]) => !entry.integrity).map(([name]) => name);
  const installed = packages(process.argv[2]).length;
  console.log(`packages: ${installed}, without a hash: ${bare.length}`);
  if (bare.length > 0 || installed > 40) { console.error(`check_web.sh: at most 40 packages, each with its hash; lacking one: ${bare}`); process.exit(1); }
' "$PWD/web/package-lock.json" "$copy/web/node_modules/.package-lock.json"

packed() { cat -- "$@" | gzip -9nc | wc -c; }
first=0 all=0
# What index.html names is loaded before the page can be used; icons are not waited for.
for file in web/dist/index.html web/dist/assets/*; do
  bytes=$(packed "$file")
  all=$((all + bytes))
  if [[ $file == */index.html ]] || { grep -q "/${file#web/dist/}" web/dist/index.html && [[ $file != *.svg ]]; }; then first=$((first + bytes)); fi
done
echo "page before input: $first bytes, all: $all bytes (gzip)"
[[ $first -le 45000 && $all -le 200000 ]] || { echo "check_web.sh: over the budget of 45,000 and 200,000 bytes" >&2; exit 1; }
