#!/usr/bin/env bash
# From a fresh clone to five trained models in one command: builds what it runs (packages that are missing are installed),
# makes short ListOps data, trains all five attentions on it one after another with a live progress line, prints one
# table of accuracy beside the baselines, speed and memory, and writes a page for each that shows what its attention does.
#
#   examples/quickstart.sh                  under 10 minutes on 2 cores; each time a new folder below runs/
#   examples/quickstart.sh --no-install     where packages are missing: an error instead of installing them
#   examples/quickstart.sh --steps 50 ...   an option of train_lra, for all five, such as --device cuda
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}  # waiting threads do not spin: on a shared machine training runs several times faster

install=()
settings=()  # for the build
options=()   # for train_lra
for argument in "$@"; do
  case $argument in
    -h | --help) sed -n '2,/^set/{/^set/!s/^# \{0,1\}//p}' "$0"; exit 0 ;;
    --no-install) install=(--no-install) ;;
    --data* | --out* | --preset* | --resume* | --attention | --attention=* | --model*)
      echo "quickstart: $argument is its own choice; run build/release/bin/train_lra by hand to make another" >&2
      exit 2 ;;
    *) options+=("$argument") ;;
  esac
done

say() { printf '\n== %s\n' "$1"; }
begin=$(date +%s)

say "1/5  Building the four programs that are needed: make_data, train_lra, compare_runs, inspect_attention"
cache=$root/build/release/CMakeCache.txt
if [ ! -e /dev/nvidia0 ] && { [ ! -e "$cache" ] || grep -q '^SUBQUAD_CUDA:STRING=OFF' "$cache"; }; then
  settings=(-DSUBQUAD_CUDA=OFF)  # no GPU: the CUDA kernels, which take minutes to compile, are left out of a new build
fi
bash "$root/cmake/build.sh" "${install[@]}" "${settings[@]}" release make_data train_lra compare_runs inspect_attention
bin=$root/build/release/bin

data=$root/data/listops-quick
if [ -d "$data" ]; then
  say "2/5  The data are there already: $data"
else
  say "2/5  Making ListOps expressions of fewer than 200 tokens: what is the value of [MAX 2 9 [MIN 4 7 ] 0 ]?"
  "$bin/make_data" --task listops --out "$data" --seed 1 --max-length 200
fi

number=1
while [ -e "$root/runs/quickstart-$number" ]; do number=$((number + 1)); done
runs=$root/runs/quickstart-$number
mkdir -p "$runs"
say "3/5  Training; Ctrl-C saves and ends, and build/release/bin/train_lra --resume FOLDER goes on"
folders=()
for attention in softmax nystrom fsat paramixer combiner; do
  echo "-- $attention: $runs/$attention, report in $runs/$attention.txt"
  "$bin/train_lra" --preset "$root/examples/lra/presets/listops/$attention-quick.toml" --data "$data" \
    --out "$runs/$attention" "${options[@]}" >"$runs/$attention.txt"
  folders+=("$runs/$attention")
done

say "4/5  All five; the baselines see the first token of an expression, or nothing of it"
"$bin/compare_runs" "${folders[@]}" | tee "$runs/table.txt"

# The first test expression of 80 to 130 tokens: longer than the landmarks, lags and segments of these models are many.
awk -F '\t' 'NR > 1 { gsub(/[()]/, " "); tokens = split($1, token, " ")
                      if (tokens >= 80 && tokens <= 130) { for (i = 1; i <= tokens; ++i) printf "%s ", token[i]; exit } }' \
  "$data/basic_test.tsv" >"$runs/expression.txt"
say "5/5  What each attention does with $(wc -w <"$runs/expression.txt") tokens of a test expression: pages for any browser"
for folder in "${folders[@]}"; do "$bin/inspect_attention" "$folder" --file "$runs/expression.txt" --out "$folder.html"; done

seconds=$(($(date +%s) - begin))
say "Done in $((seconds / 60)) min $((seconds % 60)) s. Records, checkpoints and reports are in $runs"
