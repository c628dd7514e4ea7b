#!/usr/bin/env bash
# All that only a GPU can tell, on a machine that has one and needs no network: builds for it, runs the tests on it, looks for
# memory errors and races, times kernels, ops and attentions beside PyTorch where that is installed, and trains.
#
#   bench/gpu.sh                         every part, in this order; each ends inside 10 minutes:
#                                          build      tests      sanitizer
#                                          kernels    the engine's, beside PyTorch
#                                          attentions forward and backward: times, fractions of the roofs, launches, memory;
#                                                     beside PyTorch
#                                          layers     the same of an encoder layer, and of a whole training step, with each
#                                          ops        the same of every primitive
#                                          growth     the attentions from N = 2^10 to 2^17, and a million
#                                          training   each attention, eager and as a graph, a few hundred steps
#                                          listops    each attention at its paper's settings, 5,000 steps as far as the time goes
#   bench/gpu.sh --only build,tests      some of them; results of other parts stay
#   bench/gpu.sh --only ... --minutes 9  all of these together in so many minutes: each gets its share of what is left
#   bench/gpu.sh --out DIR               where results go; else bench/results/gpu-<name>-<commit>
#   bench/gpu.sh --carry DIR             elsewhere, with network (Debian, Ubuntu): unpacks what the build needs into DIR, under
#                                        64 MiB; then, on the machine with the GPU, CMAKE_PREFIX_PATH=DIR/usr bench/gpu.sh
#
# Needs nvcc, a C++20 compiler, CMake 3.24 and python3. Writes gpu.json (everything) and gpu.md (to read) into the results.
# What failed is named at the end, and the exit status is then 1; a part goes on after a failure where it can.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$root/build/cuda
bin=$build/bin
parts=(build tests sanitizer kernels attentions layers ops growth training listops)

part_seconds=580  # at most, and 5 more for a program that does not stop when asked to
declare -A share=([build]=300 [tests]=200 [sanitizer]=300 [kernels]=120 [attentions]=220 [layers]=180 [ops]=240 [growth]=120
                  [training]=180 [listops]=400)  # of --minutes

stop() { echo "gpu: $1" >&2; exit "${2:-1}"; }

# Headers, OpenBLAS and what it needs; a package's name without its version, as on Debian 12 and Ubuntu 24.04.
carry() {
  local folder=$1 packages work
  packages=(libhwy-dev libhwy1 nlohmann-json3-dev libcli11-dev doctest-dev libopenblas-openmp-dev libopenblas0-openmp libgfortran5
            libquadmath0 libpng-dev libpng16-16 zlib1g-dev)
  work=$(mktemp -d)
  (cd "$work" && apt-get -o APT::Sandbox::User=root -qq download "${packages[@]}" && for package in *.deb; do dpkg -x "$package" unpacked; done)
  (cd "$work/unpacked" && rm -rf usr/share/doc usr/share/man usr/share/lintian && find . -name '*.a' -not -name 'libhwy*' -not -name libz.a -delete)
  mkdir -p "$folder"
  cp -a "$work/unpacked/." "$folder/"
  rm -rf "$work"
  [ "$(du -sm "$folder" | cut -f1)" -lt 64 ] || stop "$folder is larger than 64 MiB"
  du -sh "$folder"
}

only=$(IFS=,; echo "${parts[*]}")
out=
minutes=
while [ $# -gt 0 ]; do
  case $1 in
    --only) only=${2:?gpu: --only needs parts, such as build,tests}; shift ;;
    --out) out=${2:?gpu: --out needs a folder}; shift ;;
    --minutes)
      minutes=${2:?gpu: --minutes needs a number}
      [[ $minutes =~ ^[0-9]+(\.[0-9]+)?$ ]] || stop "--minutes is '$minutes', expected a number" 2
      shift ;;
    --carry) carry "${2:?gpu: --carry needs a folder}"; exit ;;
    *) stop "unknown option $1; there are --only, --minutes, --out and --carry" 2 ;;
  esac
  shift
done
for part in ${only//,/ }; do
  [[ " ${parts[*]} " == *" $part "* ]] || stop "no part is called $part; there are ${parts[*]}" 2
done

name=$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -n 1) && [ -n "$name" ] ||
  stop "no GPU here (nvidia-smi lists none), so there is nothing to measure"
commit=${SUBQUAD_COMMIT:-$(git -C "$root" rev-parse --short HEAD 2>/dev/null || echo unknown)}
[ -n "$out" ] || out=$root/bench/results/gpu-$(tr 'A-Z ' 'a-z-' <<<"$name")-$commit
mkdir -p "$out"
logs=$build/gpu_logs
mkdir -p "$logs"

export OMP_WAIT_POLICY=passive
# OpenBLAS is opened by its path; what it needs in turn lies beside it when both were carried.
prefixes=${CMAKE_PREFIX_PATH:-}
for prefix in ${prefixes//:/ }; do
  for folder in "$prefix"/lib/*-linux-gnu "$prefix"/lib/*-linux-gnu/openblas-openmp; do
    [ ! -d "$folder" ] || export LD_LIBRARY_PATH=$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
  done
done

python3 - "$out/machine.json" "$commit" <<'PYTHON'
import json, subprocess, sys
fields = ["name", "driver_version", "memory.total", "clocks.sm", "clocks.max.sm", "clocks.mem", "power.limit", "temperature.gpu"]
answer = subprocess.run(["nvidia-smi", "--query-gpu=" + ",".join(fields), "--format=csv,noheader"], capture_output=True, text=True)
machine = dict(zip(fields, (value.strip() for value in answer.stdout.splitlines()[0].split(","))))
nvcc = subprocess.run("nvcc --version | tail -n 1", shell=True, capture_output=True, text=True).stdout.strip()
with open(sys.argv[1], "w") as file:
    json.dump({"gpu": machine, "nvcc": nvcc, "commit": sys.argv[2]}, file, indent=1)
PYTHON

# record FILE KEY=VALUE...: one JSON line; numbers stay numbers.
record() {
  local file=$1
  shift
  python3 -c 'import json, sys
def value(text):
    try: return json.loads(text)
    except ValueError: return text
print(json.dumps({key: value(text) for key, text in (word.split("=", 1) for word in sys.argv[1:])}))' "$@" >>"$out/$file"
}

# fail WHAT: the part that runs has failed, and may go on.
fail() {
  echo "gpu: $part: $1" >&2
  echo "$part: $1" >>"$failures"
}

# within SECONDS COMMAND...: runs it for that long, or for what is left of the part's time if that is less; 124: time was up.
within() {
  local most=$1 left=$((deadline - SECONDS)) status=0
  shift
  [ $left -lt "$most" ] || left=$most
  [ "$left" -gt 0 ] || return 124
  timeout --kill-after=5 "$left" "$@" || status=$?
  [ $status != 137 ] || status=124  # did not stop when asked to
  return $status
}

ended() { if [ "$1" = 124 ]; then echo "stopped, time was up"; else echo "ended with status $1"; fi; }  # for people

part_build() {
  local generator=() begin=$SECONDS
  ! command -v ninja >/dev/null || generator=(-G Ninja)
  within $part_seconds cmake -S "$root" -B "$build" "${generator[@]}" -DCMAKE_BUILD_TYPE=Release -DCMAKE_CUDA_ARCHITECTURES=native \
    -DSUBQUAD_CUDA=ON -DSUBQUAD_SIMT=OFF -DSUBQUAD_WERROR=OFF
  within $part_seconds cmake --build "$build" --parallel "$(nproc)" --target all_tests bench_gpu make_data train_lra
  record build.jsonl seconds=$((SECONDS - begin))
}

part_tests() {
  local folder summary status begin
  for folder in core kernels autograd nn golden examples; do
    begin=$SECONDS
    status=0
    within 300 "$bin/test_$folder" --device cuda --no-colors >"$logs/test_$folder.log" 2>&1 || status=$?
    summary=$(sed -nE 's/^\[doctest\] test cases: *[0-9]+ *\| *([0-9]+) passed *\| *([0-9]+) failed.*/passed=\1 failed=\2/p' "$logs/test_$folder.log")
    if [ $status != 0 ]; then
      # A program may die without such a line; what counts, its status, is recorded below either way.
      grep -E 'ERROR|TEST CASE|threw|DeviceError' "$logs/test_$folder.log" | head -n 40 || true
      fail "test_$folder $(ended $status)"
    elif [[ "${summary:-passed=0}" == passed=0* ]]; then
      fail "test_$folder ran no test"
    fi
    # shellcheck disable=SC2086  # two words
    record tests.jsonl program=test_$folder ${summary:-failed=1} status=$status seconds=$((SECONDS - begin))
    tail -n 1 "$out/tests.jsonl"
  done
}

# Cases that start most kernels of every room on little data: under the tools a launch takes up to a hundred times as long.
sanitizer_cases=(
  'elementwise: functions of one operand read any strides'
  'elementwise: functions of one operand equal the slow loop'
  'elementwise: functions of two operands read any strides'
  'elementwise: where chooses, and ignores what it does not choose'
  'elementwise: gradients of the activations'
  'reductions read any strides'
  'max: the first of equals wins, and a NaN wins over numbers'
  'concat equals the slow loop, for any dtype and strides'
  'slice_grad writes into the slice and leaves zeros elsewhere'
  'picking moves elements and rows of any size'
  'gather and its gradient equal the slow loop'
  'dropout follows the formula of its random words'
  'embedding and its gradient equal the slow loop'
  'softmax and log_softmax equal the loop'
  'softmax and log_softmax gradients equal the loop'
  'softmax and log_softmax of rows that start anywhere'
  'cross_entropy equals the loop'
  'cross_entropy_grad scales each row'
  'add_layer_norm is layer_norm of the sum, bit for bit'
  'layer_norm_grad equals the loop'
  'layer_norm of rows that start anywhere'
  'bias_act_dropout of rows that start anywhere'
  'bias_act_dropout drops what dropout drops'
  'adamw equals the slow loop over several steps'
  'sgd equals the slow loop over several steps'
  'grad_norm equals the slow loop'
  'clip_scale shortens long gradients and leaves short ones'
  'increment adds one to every element, in place'
  'count_correct equals the loop, for any number of threads'
  'matmul reads views where they lie'
  'matmul in bf16 rounds its operands to bfloat16 and nothing else'
  'linear equals the double loop'
  'linear_grad_weight and linear_grad_bias equal their loops'
  'attention: padded queries are computed when asked for, and a scale is used as given'
  'attention reads views of any strides and writes [B, N, H, E] memory'
  'attention gives the same bits whenever it computes in the same precision'
  'accumulate equals the loop, for one part and for many, whatever the sizes'
  'chord_chain equals chord_matmul factor by factor'
  'butterfly_matmul links i and i XOR distance'
  'factor_mlp equals the plain loops'
  'compact takes positions along any dimension, views and every dtype'
  'even_segments_of_real cuts what is real, wherever it stands'
  'segment_mean reads views where they lie'
  'pinv keeps what backward needs, and takes any batch dimensions'
  'conv1d reads views where they lie'
  'landmark_softmax survives large and impossible logits'
  'fft and rfft of long signals equal the double loop'
  'rfft_grad and irfft_grad are the transposed maps'
  'circular_convolve: commutes, and a unit impulse shifts'
  'hidden_cross gradients equal the double loop'
  'gumbel_noise is scaled, and fades with the steps'
  'top_k of rows and results beyond what fits into shared memory'
  'top_k_grad puts gradients where values came from'
  'score_heads gradients equal the loop'
  'lag_column_attention takes any head size'
  'gathered_attention takes any head size'
  'span_pool: equal maxima go to the first, empty batches and strided rows work'
  'running_max: empty tensors, more columns than positions, strided rows'
  'span_attention of long spans and wide heads'
  'block_attention takes any head size, empty batches and no tokens'
  'pinv_grad of every size class'
  'circular_convolve and circular_correlate of long sequences equal the double loop'
  'block_attention at the edges of tiles equals the double loop, twice with the same bits'
  'block_attention in fp32, tf32 and bf16 is wrong by a few roundings of p and ds'
  'landmark_softmax and its gradient equal the loop'
  'segment_mean of one token is the token, and padding is not read'
  'running_max reads no padded position, not even NaN'
  'span_pool reads no padded position, not even NaN'
  'factor_mlp gives the same bits whenever it computes in the same precision'
)

# Without the cache (core/cuda/allocator.h) the tools see which memory is free and which was never written. A tool that is
# missing, that the machine refuses or that does not get to its end has found nothing, which is a failure as well.
part_sanitizer() {
  local tools=(memcheck racecheck initcheck synccheck) tool offered name filter status log answer
  offered=$(within 60 "$bin/test_kernels" --device cuda --list-test-cases --no-colors)
  for name in "${sanitizer_cases[@]}"; do
    grep -qxF -- "$name" <<<"$offered" || fail "test_kernels has no case \"$name\""
  done
  filter=$(printf '%s\n' "${sanitizer_cases[@]}" | sed 's/[\\,]/\\&/g' | paste -sd,)
  while [ ${#tools[@]} -gt 0 ]; do
    tool=${tools[0]}
    log=$logs/$tool.log
    status=0
    SUBQUAD_CUDA_CACHE=off within $(((deadline - SECONDS) / ${#tools[@]})) compute-sanitizer --tool "$tool" --error-exitcode 99 \
      "$bin/test_kernels" --device cuda --no-colors --test-case="$filter" >"$log" 2>&1 || status=$?
    # No summary, where the tool did not come so far, is an empty answer; the verdict is the tool's exit status.
    answer=$(grep -oE '(ERROR|RACECHECK) SUMMARY: .*' "$log" | tail -n 1 || true)
    case $status in
      0) answer=${answer:-no errors} ;;
      124) answer="stopped, time was up${answer:+; $answer}" ;;
      127) answer="not run: no compute-sanitizer on PATH" ;;
      99) answer=${answer:-errors} ;;
      *)
        # The tool's own words if it left any; it counts as failed with or without them.
        answer=${answer:-"not run: $(grep -m 1 -iE 'error|not supported|denied' "$log" || true)"}
        answer+="; $(ended $status)"
        ;;
    esac
    [ $status = 0 ] || fail "$tool: $answer"
    record sanitizer.jsonl tool="$tool" result="$answer" status=$status
    tail -n 1 "$out/sanitizer.jsonl"
    tools=("${tools[@]:1}")
  done
}

have_torch() { python3 -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("torch") is None)'; }

# whole_lines FILE: without the half line that a program which was stopped may leave.
whole_lines() { head -n "$(wc -l <"$1")" "$1"; }

part_kernels() {
  local inputs lines watcher clock status=0
  inputs=$(mktemp -d)
  rm -f "$out/clock.jsonl"
  nvidia-smi --id=0 --query-gpu=clocks.sm,utilization.gpu --format=csv,noheader,nounits --loop-ms=200 >"$logs/clocks.csv" &
  watcher=$!
  # However this part ends; a watcher that has ended by itself cannot be killed, and need not be.
  trap "kill $watcher 2>/dev/null || true" EXIT
  within $(((deadline - SECONDS) / 2)) "$bin/bench_gpu" --dump "$inputs" >"$logs/kernels.jsonl" || status=$?
  kill $watcher 2>/dev/null || true  # ended by itself: nothing is left to stop
  [ $status = 0 ] || fail "bench_gpu $(ended $status)"
  # The median over the moments at which a kernel ran; null where none was seen.
  clock=$(awk -F', *' '$1 ~ /^[0-9]+$/ && $2 > 0 {print $1}' "$logs/clocks.csv" | sort -n |
    awk '{clocks[NR] = $1} END {print NR ? clocks[int((NR + 1) / 2)] : "null"}')
  record clock.jsonl sm_mhz="$clock"
  whole_lines "$logs/kernels.jsonl" >"$out/kernels.jsonl"
  if have_torch; then
    status=0
    within $part_seconds python3 "$root/bench/gpu/peers.py" --dump "$inputs" <"$out/kernels.jsonl" >"$logs/peers.jsonl" ||
      status=$?
    [ $status = 0 ] || fail "peers.py $(ended $status)"
    # What PyTorch did not come to stays as it was.
    lines=$(wc -l <"$logs/peers.jsonl")
    { head -n "$lines" "$logs/peers.jsonl"; tail -n +$((lines + 1)) "$out/kernels.jsonl"; } >"$logs/both.jsonl"
    cp "$logs/both.jsonl" "$out/kernels.jsonl"
  else
    echo "no PyTorch here: times without a peer"
  fi
  rm -rf "$inputs"
}

# PyTorch's times beside the lines of $out/NAME.jsonl, in what is left of the part's time: peers NAME FOLDER.
peers() {
  local name=$1 inputs=$2 status=0
  have_torch || { echo "no PyTorch here: times without a peer"; return; }
  within $part_seconds python3 "$root/bench/gpu/op_peers.py" --dump "$inputs" --seconds $((deadline - SECONDS - 25)) <"$out/$name.jsonl" \
    >"$logs/$name.peers.jsonl" 2>"$logs/$name.peers.log" || status=$?
  cat "$logs/$name.peers.log" >&2
  [ $status = 0 ] || fail "op_peers.py $(ended $status)"
  # It writes all lines at its end, in time or not.
  [ "$(wc -l <"$logs/$name.peers.jsonl")" != "$(wc -l <"$out/$name.jsonl")" ] || cp "$logs/$name.peers.jsonl" "$out/$name.jsonl"
}

# What bench_gpu has under a name, in half of the part's time, and PyTorch beside it.
ops_of() {
  local name=$1 status=0 inputs
  inputs=$(mktemp -d)
  within $(((deadline - SECONDS) * 55 / 100)) "$bin/bench_gpu" "--$name" --dump "$inputs" >"$logs/$name.jsonl" || status=$?
  [ $status = 0 ] || fail "bench_gpu --$name $(ended $status)"
  whole_lines "$logs/$name.jsonl" >"$out/$name.jsonl"
  peers "$name" "$inputs"
  rm -rf "$inputs"
}

part_attentions() { ops_of attentions; }
part_layers() { ops_of layers; }
part_ops() { ops_of ops; }

part_growth() {
  local status=0
  within $part_seconds "$bin/bench_gpu" --growth >"$logs/growth.jsonl" || status=$?
  [ $status = 0 ] || fail "bench_gpu --growth $(ended $status)"
  whole_lines "$logs/growth.jsonl" >"$out/growth.jsonl"
}

# train NAME ATTENTION OPTION...: a short run of the quickstart's model, kept as its own record of speed and last loss.
train() {
  local run=$logs/run-$1 name=$1 attention=$2 status=0
  shift 2
  rm -rf "$run"
  within 110 "$bin/train_lra" --preset "$root/examples/lra/presets/listops/$attention-quick.toml" --data "$logs/listops" --out "$run" \
    --steps 400 --evaluate-every 400 --checkpoint-every 400 --device cuda "$@" >"$logs/train-$name.log" 2>&1 || status=$?
  if [ $status != 0 ]; then
    tail -n 3 "$logs/train-$name.log"
    record training.jsonl run="$name" result="$(ended $status): $(tail -n 1 "$logs/train-$name.log")"
    fail "$name $(ended $status)"
    return
  fi
  python3 - "$run" "$name" >>"$out/training.jsonl" <<'PYTHON'
import json, pathlib, sys
lines = [json.loads(line) for path in pathlib.Path(sys.argv[1]).glob("*.jsonl") for line in path.read_text().splitlines()]
last = lambda kind: max((line for line in lines if line["kind"] == kind), key=lambda line: line["step"], default={})
speed, loss = last("speed"), last("train")
print(json.dumps({"run": sys.argv[2], "steps": loss.get("step"), "loss": loss.get("loss"), "seconds": speed.get("seconds"),
                  "tokens_per_second": speed.get("tokens_per_second"), "peak_bytes": speed.get("peak_bytes")}))
PYTHON
  tail -n 1 "$out/training.jsonl"
}

part_training() {
  local attention precision
  if [ ! -d "$logs/listops" ]; then
    rm -rf "$logs/listops.part"
    within 200 "$bin/make_data" --task listops --out "$logs/listops.part" --seed 1 --max-length 200
    mv "$logs/listops.part" "$logs/listops"
  fi
  for attention in softmax nystrom fsat paramixer combiner; do
    train "$attention fp32 eager" $attention
    for precision in fp32 bf16; do
      train "$attention $precision graph" $attention --precision $precision --cuda-graph
    done
  done
}

# Each attention with the preset of its paper, but 5,000 steps, on expressions of 500 to 2,000 tokens; what time there is is
# shared evenly among those that are left. A run that does not come to its end is recorded with the steps it made.
part_listops() {
  local attentions=(softmax nystrom fsat paramixer combiner) left attention run status minutes
  if [ ! -d "$logs/listops-full" ]; then
    rm -rf "$logs/listops-full.part"
    within 200 "$bin/make_data" --task listops --out "$logs/listops-full.part" --seed 1
    mv "$logs/listops-full.part" "$logs/listops-full"
  fi
  left=${#attentions[@]}
  for attention in "${attentions[@]}"; do
    run=$logs/run-listops-$attention
    rm -rf "$run"
    minutes=$(awk -v s=$(((deadline - SECONDS - 10) / left)) 'BEGIN {print s > 0 ? s / 60 : 0.01}')
    left=$((left - 1))
    status=0
    within $part_seconds "$bin/train_lra" --preset "$root/examples/lra/presets/listops/$attention.toml" --data "$logs/listops-full" \
      --out "$run" --steps 5000 --evaluate-every 500 --device cuda --cuda-graph --max-minutes "$minutes" >"$logs/train-listops-$attention.log" 2>&1 || status=$?
    [ $status = 0 ] || fail "listops $attention $(ended $status): $(tail -n 1 "$logs/train-listops-$attention.log")"
    python3 - "$run" "$attention" >>"$out/listops.jsonl" <<'PYTHON'
import json, pathlib, sys
lines = [json.loads(line) for path in sorted(pathlib.Path(sys.argv[1]).glob("*.jsonl")) for line in path.read_text().splitlines()]
of = lambda kind: [line for line in lines if line.get("kind") == kind]
validations, tests, speeds, losses = of("validation"), of("test"), of("speed"), of("train")
print(json.dumps({"attention": sys.argv[2], "steps": losses[-1]["step"] if losses else 0,
                  "best_validation": max((v["accuracy"] for v in validations), default=None),
                  "test": tests[0]["accuracy"] if tests else None,
                  "seconds": speeds[-1].get("seconds") if speeds else None,
                  "tokens_per_second": speeds[-1].get("tokens_per_second") if speeds else None}))
PYTHON
    tail -n 1 "$out/listops.jsonl"
  done
}

# Seconds for a part: its share of what is left of --minutes among those that are still to come.
seconds_for() {
  local name sum=0
  [ -n "$minutes" ] || { echo $part_seconds; return; }
  for name in $(sed "s/.*\b$1\b/$1/; s/,/ /g" <<<"$only"); do sum=$((sum + share[$name])); done
  awk -v left="$minutes" -v gone=$((SECONDS - started)) -v mine="${share[$1]}" -v all=$sum -v most=$part_seconds \
    'BEGIN {s = int((60 * left - gone) * mine / all); print (s < 1 ? 1 : s > most ? most : s)}'
}

failures=$(mktemp)
trap 'rm -f "$failures"' EXIT
started=$SECONDS
for part in ${only//,/ }; do
  echo "== $part"
  rm -f "$out/$part.jsonl"
  begin=$SECONDS
  deadline=$((begin + $(seconds_for "$part")))
  set +e  # an error ends this part and no other
  (set -e; "part_$part")
  status=$?
  set -e
  [ $status = 0 ] || fail "$(ended $status)"
  echo "== $part: $((SECONDS - begin)) s"
done
python3 "$root/bench/gpu/report.py" "$out"
echo "results: $out/gpu.md"
[ ! -s "$failures" ] || stop "failed:"$'\n'"$(sed 's/^/  /' "$failures")"
