#!/usr/bin/env bash
# From a fresh clone to a trained model in one command: builds what it runs (packages that are missing are installed), makes
# short ListOps data, trains on it with a live progress line, and ends with a table: accuracy beside the baselines, speed, memory.
#
#   examples/quickstart.sh                  under 10 minutes on 2 cores; each time a new folder below runs/
#   examples/quickstart.sh --no-install     where packages are missing: an error instead of installing them
#   examples/quickstart.sh --steps 50 ...   an option of train_lra
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}  # waiting threads do not spin: on a shared machine training runs several times faster

install=()
settings=()  # for the build
options=()   # for train_lra
for argument in "$@"; do
  case $argument in
    --help) sed -n '2,/^set/{/^set/!s/^# \{0,1\}//p}' "$0"; exit 0 ;;
    --no-install) install=(--no-install) ;;
    --data* | --out* | --preset* | --resume*)
      echo "quickstart: $argument is its own choice; run build/release/bin/train_lra by hand to make another" >&2
      exit 2 ;;
    *) options+=("$argument") ;;
  esac
done

say() { printf '\n== %s\n' "$1"; }
begin=$(date +%s)

say "1/3  Building the two programs that are needed, make_data and train_lra"
cache=$root/build/release/CMakeCache.txt
if [ ! -e /dev/nvidia0 ] && { [ ! -e "$cache" ] || grep -q '^SUBQUAD_CUDA:STRING=OFF' "$cache"; }; then
  settings=(-DSUBQUAD_CUDA=OFF)  # no GPU: the CUDA kernels, which take minutes to compile, are left out of a new build
fi
bash "$root/cmake/build.sh" "${install[@]}" "${settings[@]}" release make_data train_lra
bin=$root/build/release/bin

data=$root/data/listops-quick
if [ -d "$data" ]; then
  say "2/3  The data are there already: $data"
else
  say "2/3  Making ListOps expressions of fewer than 200 tokens: what is the value of [MAX 2 9 [MIN 4 7 ] 0 ]?"
  "$bin/make_data" --task listops --out "$data" --seed 1 --max-length 200
fi

number=1
while [ -e "$root/runs/quickstart-$number" ]; do number=$((number + 1)); done
run=$root/runs/quickstart-$number
say "3/3  Training; Ctrl-C saves, and build/release/bin/train_lra --resume $run goes on"
mkdir -p "$root/runs"
"$bin/train_lra" --preset "$root/examples/lra/presets/listops-quick.toml" --data "$data" --out "$run" "${options[@]}"

seconds=$(($(date +%s) - begin))
say "Done in $((seconds / 60)) min $((seconds % 60)) s. The run's records and checkpoints are in $run"
