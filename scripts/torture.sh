#!/usr/bin/env bash
# Kills a process that writes segment files N times (default 1,000) at random moments, then N times a server that caches
# prompts or saves snapshots, and checks after each restart that answers are the same and come from disk, and that
# every acknowledged snapshot is there. About 0.6 s per kill.
#   scripts/torture.sh [N]
# SERVAL_BIN: the server (default build/release/serval). SERVAL_TEST_MODELS: folder with smollm2-135m.gguf.
# SERVAL_KVDISK_TEST: the unit test program (default build/release/src/kvdisk/kvdisk_test); absent: that part is left out.
set -euo pipefail
cd "$(dirname "$0")/.."
kills=${1:-1000}
case $kills in (*[!0-9]*|'') echo "usage: scripts/torture.sh [N]" >&2; exit 2 ;; esac
: "${SERVAL_TEST_MODELS:?names the folder with smollm2-135m.gguf}"

unit=${SERVAL_KVDISK_TEST:-build/release/src/kvdisk/kvdisk_test}
if [ -x "$unit" ]; then
  SERVAL_TORTURE_KILLS=$kills "$unit" --gtest_filter='*Killed*:*Truncation*:*Flipped*:*FullDisk*'
else
  echo "$unit is not built: segment files are not tortured on their own" >&2
fi
python=python3
[ ! -x .venv/bin/python ] || python=.venv/bin/python
SERVAL_TORTURE_KILLS=$kills "$python" -m pytest -q -s tests/api/test_kv_cache_dir.py tests/api/test_kv_snapshots.py
