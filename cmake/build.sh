#!/usr/bin/env bash
# Configures and builds a preset of CMakePresets.json, after installing what is missing.
#
#   cmake/build.sh [--no-install] PRESET [TARGET...]     no target: everything
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

install=()
if [ "${1-}" = --no-install ]; then
  install=(--no-install)
  shift
fi
preset=${1:?build: name a preset: release, dev or asan}
shift

bash "$root/cmake/install_dependencies.sh" "${install[@]}"
if command -v ccache >/dev/null; then  # not needed; spares compiling again what another folder or branch has compiled
  export CMAKE_CXX_COMPILER_LAUNCHER=ccache CCACHE_BASEDIR=$root CCACHE_NOHASHDIR=1
fi
cmake -S "$root" --preset "$preset"
cmake --build "$root/build/$preset" --parallel "$(nproc)" ${@+--target "$@"}
