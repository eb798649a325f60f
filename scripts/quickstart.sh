#!/usr/bin/env bash
# From a fresh clone to an answer in one command:
#   scripts/quickstart.sh [--yes] [serval run arguments]      e.g. scripts/quickstart.sh "Why is the sky blue?"
# Installs what is missing (asks first on a terminal), builds, fetches the default model, runs `serval run`:
# a question is answered, no question on a terminal opens a chat.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
build=$root/build/release

yes=()
if [[ ${1:-} == --yes ]]; then
  yes=(--yes)
  shift
fi

"$root/scripts/setup.sh" "${yes[@]}" build
if [[ ! -f $build/build.ninja ]]; then
  echo "Configuring ..." >&2
  (cd "$root" && cmake --preset release -DSERVAL_TESTS=OFF) >"$root/build-configure.log" 2>&1 ||
    { cat "$root/build-configure.log" >&2; exit 1; }
  rm -f "$root/build-configure.log"
fi
if [[ ! -x $build/serval ]]; then echo "Building (a few minutes the first time) ..." >&2; fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if [[ -t 2 && ! -x $build/serval ]]; then
  ninja -C "$build" serval >&2
else
  ninja -C "$build" serval >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
fi
rm -f "$log"
trap - EXIT
exec "$build/serval" run --yes "$@"
