#!/usr/bin/env bash
# Every test of the server against a binary with address and undefined-behaviour sanitizers: a report ends the
# server, and a test that needs it fails. Leaks are looked for when a server ends.
#   scripts/test_server_asan.sh [FILE...]     default: all of tests/api, tests/clients, and the page as it is sent
# scripts/test.sh installs and fetches what this needs. The kernels are not instrumented (cmake/SanitizeKernels.cmake):
# their unit tests are. Neither is the sandbox on, which would keep the sanitizers from looking at their own process.
set -euo pipefail
cd "$(dirname "$0")/.."
[[ $# -gt 0 ]] || set -- tests/api tests/clients tests/web/test_page_http.py
export SERVAL_TEST_MODELS=${SERVAL_TEST_MODELS:-${XDG_CACHE_HOME:-$HOME/.cache}/serval/test-models}
export SERVAL_BIN=$PWD/build/asan-server/serval SERVAL_TEST_STRICT=1 SERVAL_TEST_SANITIZED=1
# What a test grants to the server, in multiples of what it grants to the release build (tests/api/conftest.py).
export SERVAL_TEST_PATIENCE=${SERVAL_TEST_PATIENCE:-4}
cmake --preset asan-server -DSERVAL_TESTS=ON
cmake --build --preset asan-server --target serval
python=python3
[[ ! -x .venv/bin/python ]] || python=.venv/bin/python
failed=()
for tests in "$@"; do # each folder has a conftest.py of that name: one run cannot hold two
  echo "== $tests"
  "$python" -m pytest "$tests" -q -m "not large" --timeout 600 -p no:cacheprovider || failed+=("$tests")
done
[[ ${#failed[@]} -eq 0 ]] || { echo "failed: ${failed[*]}" >&2; exit 1; }
