#!/usr/bin/env bash
# From a fresh clone to an answer, or to a server, in one command:
#   scripts/quickstart.sh [--yes] [serval run arguments]          e.g. scripts/quickstart.sh "Why is the sky blue?"
#   scripts/quickstart.sh [--yes] serve [serval serve arguments]  e.g. scripts/quickstart.sh serve --port 8080
# Says what is missing and installs it (asks first on a terminal), builds, fetches the default model. Then a question is
# answered, no question on a terminal opens a chat, and `serve` serves the model and prints a curl line to try.
# The second time there is nothing to do but start.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
build=$root/build/release

yes=()
if [[ ${1:-} == --yes ]]; then
  yes=(--yes)
  shift
fi
command=run
if [[ ${1:-} == serve ]]; then
  command=serve
  shift
fi

"$root/scripts/setup.sh" "${yes[@]}" build
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if [[ ! -f $build/build.ninja ]]; then
  echo "Configuring ..." >&2
  (cd "$root" && cmake --preset release -DSERVAL_TESTS=OFF) >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
fi
# The largest files need a gigabyte of memory each.
jobs=$(awk -v cores="$(nproc)" '/^MemAvailable/ {n = int($2 / 1e6)} END {print n < 1 ? 1 : n < cores ? n : cores}' /proc/meminfo)
if [[ ! -x $build/serval ]]; then echo "Building (a few minutes the first time) ..." >&2; fi
if [[ -t 2 && ! -x $build/serval ]]; then
  ninja -C "$build" -j "$jobs" serval >&2
else
  ninja -C "$build" -j "$jobs" serval >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
fi
rm -f "$log"
trap - EXIT
exec "$build/serval" "$command" --yes "$@"
