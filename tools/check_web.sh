#!/usr/bin/env bash
# A fresh build of web/src gives the bytes of web/dist, and they keep their budgets (gzip -9): 45 KB before the first
# key press, 200 KB in all. Works in a copy: the checkout stays as it is.
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
