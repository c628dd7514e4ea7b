#!/usr/bin/env bash
# Configures and builds a preset of CMakePresets.json, after installing what is missing.
#
#   cmake/build.sh [--no-install] [-DNAME=VALUE]... PRESET [TARGET...]     no target: everything
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

install=()
settings=()
while [ $# -gt 0 ]; do
  case $1 in
    --no-install) install=(--no-install) ;;
    -D*) settings+=("$1") ;;
    *) break ;;
  esac
  shift
done
preset=${1:?build: name a preset: release, dev, asan or cuda}
shift

bash "$root/cmake/install_dependencies.sh" "${install[@]}"
if command -v ccache >/dev/null; then  # not needed; spares compiling again what another folder or branch has compiled
  export CMAKE_CXX_COMPILER_LAUNCHER=ccache CMAKE_CUDA_COMPILER_LAUNCHER=ccache CCACHE_BASEDIR=$root CCACHE_NOHASHDIR=1
fi
cmake -S "$root" --preset "$preset" "${settings[@]}"
cmake --build "$root/build/$preset" --parallel "$(nproc)" ${@+--target "$@"}
