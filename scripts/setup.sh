#!/usr/bin/env bash
# Installs the Debian packages that are missing: scripts/setup.sh [--yes] GROUP...   (groups of scripts/deps.txt)
# Says what it installs, and asks first unless --yes is given or there is no terminal. Removes nothing.
# Programs of the tests that come with a service (nginx, haproxy) are installed without it running, now or after a start.
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

wanted=()
for group in "${groups[@]}"; do
  mapfile -t packages < <(awk -v group="$group" '!/^#/ && $2 == group {print $1}' "$root/scripts/deps.txt")
  wanted+=("${packages[@]}")
done
# One question to dpkg for all: a start with nothing to do must not be felt.
installed=$(dpkg-query -W -f='${Package} ${db:Status-Status}\n' "${wanted[@]}" 2>/dev/null || true)
missing=()
for package in "${wanted[@]}"; do
  [[ $'\n'$installed$'\n' == *$'\n'"$package installed"$'\n'* ]] && continue
  # Other distributors' nodejs brings npm along and conflicts with Debian's package of it.
  [[ $package == npm ]] && command -v npm >/dev/null && continue
  missing+=("$package")
done
[[ ${#missing[@]} -gt 0 ]] || exit 0

sudo=()
if [[ $(id -u) != 0 ]]; then
  command -v sudo >/dev/null || {
    echo "setup.sh: packages are missing and there is no sudo here; as root: apt-get install --no-install-recommends ${missing[*]}" >&2
    exit 1
  }
  sudo=(sudo)
fi
echo "Missing packages: ${missing[*]}" >&2
if ! $yes && [[ -t 0 ]]; then
  read -r -p "Install them with ${sudo[*]:+sudo }apt-get? [Y/n] " answer || exit 1
  [[ -z $answer || $answer == [Yy]* ]] || exit 1
fi
[[ ${#sudo[@]} -eq 0 ]] || sudo -v # asks for the password here, not between other lines
echo "Installing (a minute or two) ..." >&2
log=$(mktemp)
policy=/usr/sbin/policy-rc.d # Debian asks it before it starts a service
[[ -e $policy ]] && policy=
trap 'rm -f "$log"; [[ -z $policy ]] || "${sudo[@]}" rm -f "$policy"' EXIT
[[ -z $policy ]] || printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" install -m 755 /dev/stdin "$policy"
apt() { "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 "$@" >"$log" 2>&1 </dev/null; }
apt update || echo "setup.sh: apt-get update failed, going on with the present lists" >&2
apt install -y --no-install-recommends --no-remove "${missing[@]}" || {
  tail -40 "$log" >&2
  echo "setup.sh: apt-get install failed; nothing was removed" >&2
  exit 1
}
for service in nginx haproxy; do
  [[ " ${missing[*]} " == *" $service "* ]] || continue
  command -v systemctl >/dev/null && "${sudo[@]}" systemctl --quiet disable "$service" >"$log" 2>&1 || true
done
