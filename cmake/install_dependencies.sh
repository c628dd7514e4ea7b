#!/usr/bin/env bash
# Installs the Debian or Ubuntu packages that the build needs, saying which; nothing missing: does nothing, needs no network.
#
#   cmake/install_dependencies.sh               installs what is missing (as root, or through sudo)
#   cmake/install_dependencies.sh --no-install  only checks: an error names the command to run
#   cmake/install_dependencies.sh --browser     also (or, with --no-install, checks) what tests/browser needs
set -euo pipefail

packages=(
  g++ cmake ninja-build
  libopenblas-openmp-dev  # matrix products, in the build that shares OpenMP's threads
  libhwy-dev              # SIMD with run-time dispatch
  nlohmann-json3-dev      # safetensors headers, logs
  libcli11-dev            # command lines and presets
  libpng-dev              # images of Pathfinder
  doctest-dev             # tests
  protobuf-compiler       # tests: an independent reader of TensorBoard's event files
  python3                 # tests: independent readers of what a run leaves behind
  libboost-context-dev    # fibers: the tests run CUDA kernels on the CPU
  libbenchmark-dev        # benchmarks
)

install=yes
for option in "$@"; do
  case $option in
    --no-install) install=no ;;
    --browser) packages+=(chromium chromium-driver python3-selenium) ;;
    *) echo "install_dependencies: unknown option $option; there are --no-install and --browser" >&2; exit 2 ;;
  esac
done

if ! command -v dpkg-query apt-get >/dev/null; then
  echo "install_dependencies: no dpkg here, so nothing is checked; the build needs the counterparts of: ${packages[*]}"
  exit 0
fi

missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$status" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
[ "$(id -u)" = 0 ] || as_root=(sudo)
command="${as_root[*]:+sudo }apt-get install --no-install-recommends ${missing[*]}"
if [ $install = no ]; then
  echo "install_dependencies: missing packages: ${missing[*]}" >&2
  echo "install_dependencies: to install them, run: $command" >&2
  exit 1
fi
if [ ${#as_root[@]} -gt 0 ] && ! command -v sudo >/dev/null; then
  echo "install_dependencies: missing packages: ${missing[*]}" >&2
  echo "install_dependencies: this is not root and there is no sudo; as root, run: ${command#sudo }" >&2
  exit 1
fi

apt_get() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -qq "$@"; }

echo "Installing what the build needs and is missing: ${missing[*]}"
# A fresh machine has no package lists: fetch them. Old lists name versions that are gone: fetch them and try again.
if ! apt_get install --simulate "${missing[@]}" >/dev/null 2>&1; then
  apt_get update
fi
if ! apt_get install -y --no-install-recommends "${missing[@]}" >/dev/null; then
  apt_get update
  apt_get install -y --no-install-recommends "${missing[@]}" >/dev/null
fi
