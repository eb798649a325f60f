#!/usr/bin/env bash
# Runs every fuzz target of a build folder for some seconds: tools/fuzz_briefly.sh BUILD SECONDS
set -euo pipefail
build=$1 seconds=$2
found=0
for target in "$build"/fuzz/*_fuzz; do
  [[ -x $target ]] || continue
  found=1
  name=$(basename "$target")
  corpus=$(mktemp -d)
  seeds=$(dirname "$0")/../fuzz/seeds/$name
  [[ -d $seeds ]] && cp -r "$seeds/." "$corpus/"
  echo "$name for $seconds s"
  "$target" -max_total_time="$seconds" -rss_limit_mb=1024 -timeout=10 -print_final_stats=0 -verbosity=0 "$corpus"
  rm -rf "$corpus"
done
[[ $found == 1 ]] || { echo "no fuzz targets in $build/fuzz" >&2; exit 1; }
