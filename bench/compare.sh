#!/usr/bin/env bash
# Ours beside PyTorch and JAX, and how time and memory grow, on one thread of this machine's CPU.
#
#   bench/compare.sh                     every part: roofs, cold, peers, growth, memory, threads
#   bench/compare.sh --only peers        some of them, with commas between
#   bench/compare.sh --rows nystrom      roofs, cold, peers, growth: rows whose titles match a regular expression (grep -E)
#   bench/compare.sh --quick             under 10 minutes: N = 1024, PyTorch without torch.compile, 3 turns, growth up to 2^13, memory at 2^17
#   bench/compare.sh --n 1024,4096       these lengths alone, of roofs, cold and peers (2048: training steps of 32 samples)
#   bench/compare.sh --seconds 0.4       at least so long for a row beside peers, a quarter of it for one of roofs
#   bench/compare.sh --out DIR           where results go; else build/compare
#   bench/compare.sh --bin PROGRAM       a bench_kernel that is built already, bench_primitives and its kin beside it; else
#                                        build/release is brought up to date
#
# roofs: each row of `bench_kernel --rows`, forward and backward, beside what this machine reaches at best.
# cold: the same of primitives whose inputs come from memory.
# peers: the same rows beside the same work in PyTorch (eager and compiled) and JAX, results compared first (bench/peers). PyTorch comes
# (2 or newer) from python3, or from SUBQUAD_PEER_PYTHON, or is installed from PyPI into build/peers, 6 GB with what it brings for GPUs, JAX
# with it; without JAX, PyTorch is the only peer. Without either the other parts run, and the status is 1.
# growth: every op, pattern of combiner and protocol of paramixer (a row is called "combiner --pattern average") from N = 2^10 to
# 2^17, with fitted exponents, judged met or ABOVE; softmax attention, which is quadratic, to 2^13, its layer and step, too.
# memory: forward and backward of an encoder layer with each attention at a million positions, B = 1, H = 1, E = 32, which shall take
# under 16 GiB, and how time grows from 2^10 on.
# threads: wall time of the attentions on one thread and on all processors, for information.
# growth.svg and peers.svg show the attentions. At the end stands a line for each target: what was measured, what was wanted, met,
# short or open. Ends with status 1 where results differ or memory is exceeded.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
bin=
out=$root/build/compare
all=roofs,cold,peers,growth,memory,threads
parts=$all
rows=
ways=()
seconds=2
least=0.5
lengths=1024,2048,4096,16384
largest=131072
long=1048576

stop() { echo "compare: $1" >&2; exit "${2:-1}"; }

while [ $# -gt 0 ]; do
  case $1 in
    --only) parts=${2:?compare: --only needs parts, such as peers,growth}; shift ;;
    --rows) rows=${2:?compare: --rows needs a regular expression}; shift ;;
    --bin) bin=${2:?compare: --bin needs the program bench_kernel}; shift ;;
    --out) out=${2:?compare: --out needs a folder}; shift ;;
    --n) lengths=${2:?compare: --n needs lengths with commas between}; shift ;;
    --seconds) seconds=${2:?compare: --seconds needs a number} least=$(awk -v s="$2" 'BEGIN { print s / 4 }'); shift ;;
    --quick) seconds=0.3 least=0.05 lengths=1024 largest=8192 long=131072 ways=(--eager --repetitions 3) ;;
    *) stop "unknown option $1; there are --only, --rows, --n, --seconds, --quick, --out and --bin" 2 ;;
  esac
  shift
done
[[ $parts =~ [a-z] ]] || stop "--only names no part; there are ${all//,/, }" 2
for part in ${parts//,/ }; do
  [[ ,$all, == *,$part,* ]] || stop "no part is called $part; there are ${all//,/, }" 2
done
[[ $lengths =~ ^(1024|2048|4096|16384)(,(1024|2048|4096|16384))*$ ]] ||
  stop "--n $lengths: the rows have lengths 1024, 4096 and 16384, and 2048 the steps of 32 samples" 2
[[ $seconds =~ ^[0-9]+(\.[0-9]+)?$ ]] || stop "--seconds $seconds is no number" 2

processors=$(env -u OMP_NUM_THREADS nproc)
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE  # of another machine, may be; the library chooses what this processor runs best
if [ -z "$bin" ]; then
  bin=$root/build/release/bin/bench_kernel
  mkdir -p "$root/build"
  bash "$root/cmake/build.sh" --no-install release bench_{kernel,primitives,attentions,layers,training} >"$root/build/compare.log" 2>&1 ||
    { tail -n 5 "$root/build/compare.log" >&2; stop "the build failed; see build/compare.log"; }
fi
[ -f "$bin" ] && [ -x "$bin" ] || stop "--bin $bin: there is no such program" 2
ops=$("$bin" --list | sed -n 's/^\([a-z0-9_]*\):.*/\1/p') && [ -n "$ops" ] || stop "$bin cannot list its ops: is it bench_kernel?" 2
mkdir -p "$out"
status=0
measured=no

# A python3 that has PyTorch 2 or newer.
peer_python() {
  local python
  for python in ${SUBQUAD_PEER_PYTHON:-} python3 "$root/build/peers/bin/python"; do
    if "$python" -c 'import torch; assert int(torch.__version__.split(".")[0]) >= 2' 2>/dev/null; then
      echo "$python"
      return
    fi
  done
  python3 -m venv "$root/build/peers" >&2 && "$root/build/peers/bin/pip" install --quiet torch jax >&2 || return
  echo "$root/build/peers/bin/python"
}

# The rows of `bench_kernel --rows` that are wanted, as Google Benchmark names them: / and : in place of space and =.
wanted_names() {
  "$bin" --rows | sed -nE 's/.*"title":"([^"]*)"(,"length":([0-9]+))?.*/\3|\1/p' |
    awk -F'|' -v lengths=",$lengths," '$1 == "" || index(lengths, "," $1 ",") { print $2 }' | { grep -E -- "$rows" || [ $? = 1 ]; } |
    sed 's/ /\//g; s/=/:/g'
}

# time_rows NAME FAMILY OPTION...: into NAME.json and NAME.txt.
time_rows() {
  local name=$1 family=$2 names
  shift 2
  rm -f "$out/$name.json"
  names=$(wanted_names | paste -sd'|')
  [ -n "$names" ] || return 0
  [ -x "$(dirname "$bin")/bench_$family" ] || stop "no bench_$family stands beside $bin"
  "$(dirname "$bin")/bench_$family" --benchmark_filter="^($names)/(forward|backward)" --benchmark_min_time="$least" \
    --benchmark_out="$out/$name.json" "$@" >"$out/$name.txt" 2>"$out/$name.log" || status=1
  if grep ERROR "$out/$name.txt"; then status=1; fi
  if [ -s "$out/$name.json" ]; then measured=yes; fi
}

roofs() {
  local family
  for family in primitives attentions layers training; do time_rows "$family" "$family"; done
}

cold() { time_rows primitives_cold primitives --cold; }

peers() {
  local python
  [ -n "$(wanted_names)" ] || return 0  # of growth alone
  if ! python=$(peer_python); then
    echo "compare: no peers: PyTorch 2 or newer is neither here nor to be had from PyPI; SUBQUAD_PEER_PYTHON names a python that has it" >&2
    status=1
    return
  fi
  rm -f "$out/peers.jsonl"
  "$python" "$root/bench/peers/compare.py" --bench "$bin" --only "$rows" --n "$lengths" --seconds "$seconds" \
    "${ways[@]}" --json "$out/peers.jsonl" || status=1
  if [ -s "$out/peers.jsonl" ]; then measured=yes; fi
}

# Each op, and in a line of its own each variant that asks for work of another order or by other loops.
growth_rows() {
  local op pattern
  for op in $ops; do
    echo "$op"
    case $op in
      combiner)
        for pattern in logsparse vertical horizontal mixture average rowmajor; do echo "$op --pattern $pattern"; done
        echo "$op --causal true" ;;
      paramixer) printf '%s\n' "$op --protocol cdil" "$op --protocol butterfly" ;;
    esac
  done
}

growth() {
  local op options to shape
  : >"$out/growth.jsonl" >"$out/growth.log"
  while read -r op options; do
    [ -n "$op" ] || continue
    to=$largest shape=(--batch 1)
    case $op in
      matmul | pinv) continue ;;  # no N of a sequence
      softmax | softmax_layer | softmax_step | attention) to=8192 ;;
      top_k) shape=(--batch 128 --k 4) ;;  # else calls and the sorting of what is kept, whatever N is, outweigh the search
    esac
    # shellcheck disable=SC2086  # options are words
    "$bin" "$op" $options --growth "${shape[@]}" --to "$to" --seconds 0.2 --repetitions 3 </dev/null \
      2>>"$out/growth.log" >>"$out/growth.jsonl" || status=1
    tail -n 2 "$out/growth.log"
    measured=yes
  done <<<"$(growth_rows | grep -E -- "$rows")"
}

# An encoder layer from 2^10 positions to a million: seconds and memory of the longest, of the allocator, which serves all tensors, and of
# the whole process; how time grows.
memory() {
  local op
  : >"$out/memory.jsonl" >"$out/memory.log"
  for op in nystrom_layer fsat_layer paramixer_layer combiner_layer; do
    if ! "$bin" "$op" --growth --to "$long" --batch 1 --heads 1 --d 32 --repetitions 1 --seconds 0.1 \
      2>"$out/memory.log" >"$out/layer.jsonl"; then
      cat "$out/memory.log" >&2
      status=1
      continue
    fi
    cat "$out/layer.jsonl" >>"$out/memory.jsonl"
    python3 "$root/bench/targets.py" --longest "$out/layer.jsonl" --gib 16 || status=1
    measured=yes
  done
}

threads() {
  local op count
  : >"$out/threads.jsonl"
  [ "$processors" -gt 1 ] || return 0
  for op in softmax nystrom fsat paramixer combiner; do
    for count in 1 "$processors"; do
      "$bin" "$op" --n 4096 --threads "$count" --seconds "$least" 2>/dev/null >>"$out/threads.jsonl" || status=1
    done
  done
  measured=yes
}

# One line per target, of what this run measured; the table behind it goes to a file.
verdicts() {
  local family files=() others=()
  of() { if [[ ,$parts, == *,$1,* && -s $out/$2 ]]; then echo "$out/$2"; fi; }  # what this run measured
  for family in primitives attentions layers training; do files+=("$(of roofs "$family.json")"); done
  others=(--cold "$(of cold primitives_cold.json)" --peers "$(of peers peers.jsonl)" --growth "$(of growth growth.jsonl)"
    --threads "$(of threads threads.jsonl)")
  [ "$parts" != memory ] || return 0  # which has said all
  "$bin" --rows >"$out/rows.jsonl"
  python3 "$root/bench/targets.py" --rows "$out/rows.jsonl" --only "$rows" --n "$lengths" --roofs "${files[@]}" "${others[@]}" >"$out/targets.md"
  sed '1,/^$/d' "$out/targets.md" | sed '1,/^$/d'  # without the table
}

# Pictures of the attentions' growth, where a part of this run measured two lengths or more.
pictures() {
  local kind
  for kind in growth peers; do
    [[ $parts == *$kind* ]] && [ -s "$out/$kind.jsonl" ] || continue
    python3 "$root/bench/draw_scaling.py" "$out/$kind.jsonl" "$out/$kind.svg" \
      --only '^(softmax|nystrom|fsat|paramixer|combiner|local)( chord| fixed)?$' 2>/dev/null || rm -f "$out/$kind.svg"
  done
}

for part in ${parts//,/ }; do "$part"; done
[ $measured = yes ] || [ $status != 0 ] || stop "no row matches '$rows'"
pictures
verdicts
echo "results: $out"
exit $status
