#!/usr/bin/env bash
# Installs the Debian packages that are missing: scripts/setup.sh [--yes] GROUP...   (groups of scripts/deps.txt)
# Says what it installs, and asks first unless --yes is given or there is no terminal. Removes nothing.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)

yes=false
groups=()
for argument in "$@"; do
  case $argument in
    --yes) yes=true ;;
    build | test | ci) groups+=("$argument") ;;
    *) echo "setup.sh: unknown argument '$argument' (expected --yes, build, test, ci)" >&2; exit 2 ;;
  esac
done

command -v apt-get >/dev/null || {
  echo "setup.sh: no apt-get here; install the packages of scripts/deps.txt by your system's means" >&2
  exit 1
}

missing=()
for group in "${groups[@]}"; do
  while read -r package package_group _; do
    [[ $package_group == "$group" ]] || continue
    status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
    # Other distributors' nodejs brings npm along and conflicts with Debian's package of it.
    [[ $status == installed ]] || { [[ $package == npm ]] && command -v npm >/dev/null; } || missing+=("$package")
  done < <(grep -v '^#' "$root/scripts/deps.txt")
done
[[ ${#missing[@]} -gt 0 ]] || exit 0

sudo=()
[[ $(id -u) == 0 ]] || sudo=(sudo)
echo "Missing packages: ${missing[*]}" >&2
if ! $yes && [[ -t 0 ]]; then
  read -r -p "Install them with ${sudo[*]:+sudo }apt-get? [Y/n] " answer
  [[ -z $answer || $answer == [Yy]* ]] || exit 1
fi
export DEBIAN_FRONTEND=noninteractive
"${sudo[@]}" apt-get update -qq >&2 || echo "setup.sh: apt-get update failed, going on with the present lists" >&2
"${sudo[@]}" apt-get install -y -qq --no-install-recommends --no-remove "${missing[@]}" >&2
