#!/usr/bin/env bash
# Installs the release build into a folder of its own and builds a small project against nothing but that folder.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
build=$root/build/consumer

bash "$root/cmake/build.sh" "$@" release
rm -rf "$build"
cmake --install "$root/build/release" --prefix "$build/prefix" >"$build.install.log"
cmake -G Ninja -S "$here" -B "$build" -DCMAKE_PREFIX_PATH="$build/prefix" -DCMAKE_BUILD_TYPE=Release
cmake --build "$build"
OMP_WAIT_POLICY=passive "$build/consumer"
