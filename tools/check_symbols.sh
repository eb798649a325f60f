#!/bin/sh
# Fails if an object compiled for a special instruction set defines a weak symbol outside its own
# namespace: the linker might keep that copy for the whole program, which then dies on older processors.
#
# usage: check_symbols.sh NAMESPACE OBJECT
set -eu
namespace=$1
object=$2
leaks=$(nm --defined-only "$object" | awk '$2 ~ /^[VWuvw]$/ { print $3 }' | grep -v "6serval3cpu.*${namespace}" || true)
if [ -n "$leaks" ]; then
  echo "$object defines weak symbols outside serval::cpu::$namespace:" >&2
  echo "$leaks" | c++filt >&2
  exit 1
fi
