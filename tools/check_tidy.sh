#!/usr/bin/env bash
# clang-tidy-14 with the rules of .clang-tidy: tools/check_tidy.sh [BUILD-FOLDER] [FILE...]; all of src/ without files.
# Takes minutes a core, so it is no part of the test run. The build folder must be configured (cmake --preset clang).
set -uo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root" || exit 1
build=build/clang
if [[ $# -gt 0 && -d $1 ]]; then
  build=$1
  shift
fi
[[ -f $build/compile_commands.json ]] || { echo "check_tidy.sh: no $build/compile_commands.json" >&2; exit 1; }
if [[ $# -gt 0 ]]; then files=("$@"); else mapfile -t files < <(git ls-files 'src/*.cpp'); fi
printf '%s\n' "${files[@]}" | xargs -P "$(nproc)" -I{} clang-tidy-14 -p "$build" --quiet {} 2>/dev/null
