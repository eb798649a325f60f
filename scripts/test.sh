#!/usr/bin/env bash
# Builds everything and runs every test; one summary at the end. Arguments: --large also runs the tests that need
# the two large models (1.6 GB). Installs what is missing.
set -uo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root" || exit 1
export SERVAL_TEST_MODELS=${SERVAL_TEST_MODELS:-${XDG_CACHE_HOME:-$HOME/.cache}/serval/test-models}
export SERVAL_BIN=$root/build/release/serval
export SERVAL_TEST_STRICT=1 # a skipped test is a failed one, see tests/conftest.py
large=false
[[ ${1:-} == --large ]] && large=true

passed=0 failed=0 skipped=0
failures=()
report=$(mktemp -d)
trap 'rm -rf "$report"' EXIT
note() { # note NAME PASSED FAILED
  passed=$((passed + $2))
  failed=$((failed + $3))
  [[ $3 -eq 0 ]] || failures+=("$1: $3 failed")
}
stop() {
  echo "test.sh: $1" >&2
  exit 1
}
check() { # check NAME COMMAND...: one command, one test
  local name=$1
  shift
  echo "== $name"
  if "$@"; then note "$name" 1 0; else note "$name" 0 1; fi
}

echo "== setup"
scripts/setup.sh --yes build test || stop "packages could not be installed"
[[ -x .venv/bin/python ]] || python3 -m venv .venv || stop "no Python virtual environment"
.venv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r tests/requirements.txt ||
  stop "the Python test packages could not be installed"
for folder in tests/clients/node tests/web; do
  (cd "$folder" && npm ci --ignore-scripts --silent) || stop "the Node test packages of $folder could not be installed"
done
fetch=()
$large && fetch=(--large)
.venv/bin/python scripts/fetch_test_models.py "${fetch[@]}" || stop "the test models could not be fetched"

echo "== build"
cmake --preset release -DSERVAL_TESTS=ON >"$report/configure" || stop "configure failed"
cmake --build --preset release >"$report/build" 2>&1 || { tail -60 "$report/build"; stop "build failed"; }
grep -c 'warning:' "$report/build" | sed 's/^/compiler warnings: /'

check "layers" python3 tools/check_layers.py
check "size" python3 tools/check_size.py

echo "== unit"
ctest --test-dir build/release -j"$(nproc)" --output-on-failure --output-junit "$report/unit.xml" --timeout 300 |
  grep -vE '^ *[0-9]+/[0-9]+ Test .* Passed|^ +Start '
echo "== pytest"
marker="not large" limit=600
$large && marker="" limit=7200  # NumPy takes its time for the 1.5B model
.venv/bin/python -m pytest tests -q -m "$marker" --timeout "$limit" -p no:cacheprovider --junit-xml "$report/python.xml"

for file in unit python; do
  counts=$(.venv/bin/python - "$report/$file.xml" <<'P'
import sys, xml.etree.ElementTree as tree
try:
    root = tree.parse(sys.argv[1]).getroot()
    suites = [root] if root.tag == "testsuite" else list(root)
    total, bad, skipped = (sum(int(s.get(k, 0) or 0) for s in suites) for k in ("tests", "failures", "skipped"))
    bad += sum(int(s.get("errors", 0) or 0) for s in suites)
    print(total - bad - skipped, bad, skipped)
except Exception:
    print(0, 1, 0)
P
  )
  read -r good bad missed <<<"$counts"
  skipped=$((skipped + missed))
  [[ $((good + bad)) -gt 0 ]] || bad=1
  note "$file" "$good" "$bad"
done

for failure in "${failures[@]}"; do echo "FAILED $failure"; done
echo "$passed passed, $failed failed, $skipped skipped (what this machine or a format cannot do)"
[[ $failed -eq 0 ]]
