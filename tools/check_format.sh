#!/usr/bin/env bash
# Every C++ file as clang-format 14 would write it.
set -euo pipefail
cd "$(dirname "$0")/.."
git ls-files '*.h' '*.cpp' '*.inl' | xargs clang-format-14 --dry-run --Werror
