#!/usr/bin/env bash
# Builds and runs the tests; the last line, "N passed, N failed", counts test cases.
#
#   tests/run.sh               every test: on the CPU (those of kernels and above on every SIMD target that this processor
#                              offers), with the CUDA kernels interpreted on the CPU (simt), and on a GPU if there is one (cuda)
#   tests/run.sh --only REGEX  programs, devices (cpu, simt, cuda) and test cases whose names match (grep -E), e.g. --only golden
#                              SUBQUAD_GOLDEN_DIR=DIR tests/run.sh --only golden checks the files of DIR, one line each
#                              --only inspect also opens the inspector's pages in a browser, which is installed then
#   tests/run.sh --asan        under the address and undefined-behaviour sanitizers, on the best SIMD target
#   tests/run.sh --no-install  where packages are missing: an error instead of installing them
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

preset=release
only=
install=()
while [ $# -gt 0 ]; do
  case $1 in
    --only) only=${2:?run: --only needs a regular expression}; shift ;;
    --asan) preset=asan ;;
    --no-install) install=(--no-install) ;;
    *) echo "run: unknown option $1; there are --only REGEX, --asan and --no-install" >&2; exit 2 ;;
  esac
  shift
done

if [ -n "${SUBQUAD_GOLDEN_DIR:-}" ]; then  # made absolute, since programs run elsewhere
  [ -d "$SUBQUAD_GOLDEN_DIR" ] || { echo "run: SUBQUAD_GOLDEN_DIR is $SUBQUAD_GOLDEN_DIR: there is no such folder" >&2; exit 2; }
  SUBQUAD_GOLDEN_DIR=$(realpath -- "$SUBQUAD_GOLDEN_DIR")
fi

passed=0
failed=0
finish() {
  echo "$passed passed, $failed failed"
  [ "$failed" = 0 ] && [ "$passed" -gt 0 ]
  exit
}
fail() {
  echo "  FAILED: $1"
  failed=$((failed + 1))
}

if ! bash "$root/cmake/build.sh" "${install[@]}" "$preset" all_tests; then
  fail "the build"
  finish
fi

export OMP_WAIT_POLICY=passive  # threads that wait do not spin: on a shared machine the tests run several times faster
export UBSAN_OPTIONS=print_stacktrace=1
bin=$root/build/$preset/bin
logs=$root/build/$preset/test_logs
rm -rf "$logs"
mkdir -p "$logs"

# device_option DEVICE: how a program is told; the interpreter is the only GPU that the *_simt programs know.
device_option() {
  case $1 in cpu) echo cpu ;; *) echo cuda ;; esac
}

# filter_of PROGRAM DEVICE: the doctest filter for what --only selects; "*" for all of the program, nothing where no case
# matches. Fails when the program cannot list its cases.
filter_of() {
  if [ -z "$only" ] || grep -qE -- "$only" <<<"$1"$'\n'"$2"; then
    echo "*"
    return
  fi
  local cases matching
  cases=$("$bin/$1" --device "$(device_option "$2")" --list-test-cases --no-colors) || return
  matching=$(sed -e '/^\[doctest\]/d' -e '/^=*$/d' <<<"$cases" | grep -E -- "$only") || [ $? = 1 ]  # 1: none
  sed 's/[\\,]/\\&/g' <<<"$matching" | paste -sd,
}

# cache_of PROGRAM: under the sanitizers kernels get memory of exactly the size they ask for, new each time: every access
# beyond it is seen, and what nothing wrote is NaN. The other programs test the cache itself.
cache_of() {
  case $preset-$1 in asan-test_kernels_simt | asan-test_autograd_simt | asan-test_golden_simt) echo off ;; *) echo on ;; esac
}

# run_program PROGRAM DEVICE SIMD_TARGET FILTER OPTION...: leaves what it says, its status and its seconds in files of $logs.
run_program() {
  local run=$logs/$1-$2-$3 status=0 begin
  begin=$(date +%s)
  (cd "$logs" && SUBQUAD_SIMD=$3 SUBQUAD_CUDA_CACHE=$(cache_of "$1") \
    "$bin/$1" --device "$(device_option "$2")" --no-colors --test-case="$4" "${@:5}") >"$run.log" 2>&1 || status=$?
  echo "$status $(($(date +%s) - begin))" >"$run.end"
}

# report PROGRAM DEVICE SIMD_TARGET: adds the test cases of a run to the totals; its log is shown when something failed,
# and the golden files' lines also when they were asked for.
report() {
  local log=$logs/$1-$2-$3.log status seconds summary
  read -r status seconds <"$logs/$1-$2-$3.end"
  summary=$(sed -nE 's/^\[doctest\] test cases: *[0-9]+ *\| *([0-9]+) passed *\| *([0-9]+) failed.*/\1 \2/p' "$log")
  local cases_passed=${summary% *} cases_failed=${summary#* }
  printf '%-20s %-5s %-8s %4s passed, %s failed, %d s\n' "$1" "$2" "$3" "${cases_passed:-0}" "${cases_failed:-0}" "$seconds"
  passed=$((passed + ${cases_passed:-0}))
  failed=$((failed + ${cases_failed:-0}))
  if [ "$status" = 0 ] && [ -n "$only" ] && [ "$1-$2" = test_golden-cpu ]; then
    sed -e '/^\[doctest\]/d' -e '/^=*$/d' "$log"
  fi
  if [ "$status" != 0 ] || [ -z "$summary" ]; then
    cat "$log"
    [ "${cases_failed:-0}" != 0 ] || fail "$1 on $2 ended with status $status and no failed test case"
  elif [ "$summary" = "0 0" ]; then
    fail "$1 on $2 ran no test"
  fi
}

# select_cases PROGRAM DEVICE: sets `filter`; false when there is nothing to run.
select_cases() {
  [ -x "$bin/$1" ] || return
  if ! filter=$(filter_of "$1" "$2"); then
    fail "$1 cannot list its test cases"
    return 1
  fi
  [ -n "$filter" ]
}

folders=(house core kernels autograd nn examples golden bench)
mapfile -t simd_targets < <("$bin/test_core" --simd-targets)
best=${simd_targets[0]}

# As many programs run at a time as there are processors: the interpreter has one thread, and many cases on the CPU are too
# small for a second one. The longest start first.
declare -A running=()  # process: program, device, SIMD target
report_next() {
  local process run
  wait -n -p process || true  # a run's status stands in its .end file, where report() looks; this one is the subshell's
  read -ra run <<<"${running[$process]}"
  report "${run[@]}"
  unset "running[$process]"
}
# start PROGRAM DEVICE SIMD_TARGET FILTER: waits for a free processor, then runs it in the background.
start() {
  while [ ${#running[@]} -ge "$(nproc)" ]; do report_next; done
  run_program "$@" &
  running[$!]="$1 $2 $3"
}

export SUBQUAD_SIMT_COVERAGE=$logs/launches
every_launch=yes  # unless --only leaves cases out
for program in test_kernels_simt test_{examples_simt,nn_simt,golden_simt,autograd_simt,simt,core_simt}; do
  if ! select_cases "$program" simt; then
    every_launch=no
    continue
  fi
  [ "$filter" = "*" ] || every_launch=no
  start "$program" simt "$best" "$filter"
done
if [ $every_launch = yes ]; then  # kernels that choose another way where a block has less shared memory than on sm_90
  SUBQUAD_SIMT_SHARED=101376 start test_kernels_simt simt99 "$best" "*" --test-suite="less shared memory"
fi
for folder in kernels examples nn autograd bench golden house core; do
  select_cases "test_$folder" cpu || continue
  targets=("$best")
  case $preset-$folder in release-kernels | release-autograd | release-nn | release-golden) targets=("${simd_targets[@]}") ;; esac
  for target in "${targets[@]}"; do start "test_$folder" cpu "$target" "$filter"; done
done
while [ ${#running[@]} -gt 0 ]; do report_next; done

# A kernel that the cases never ran, too seldom, or with one block only is a failed case of that name.
if [ $every_launch = yes ]; then
  if complaints=$(bash "$root/tests/simt/coverage.sh" "$SUBQUAD_SIMT_COVERAGE" "$bin/test_kernels_simt"); then
    echo "coverage: $complaints"
    passed=$((passed + 1))
  else
    while read -r complaint; do fail "coverage: $complaint"; done <<<"${complaints:-coverage.sh ended without a word}"
  fi
fi

if ! devices=$("$bin/test_core" --devices); then  # it has said why: a GPU whose driver is too old
  fail "test_core --devices cannot tell which devices there are"
elif grep -qx cuda <<<"$devices"; then
  for folder in "${folders[@]}"; do
    [[ $folder != house && $folder != bench ]] && select_cases "test_$folder" cuda || continue
    run_program "test_$folder" cuda "$best" "$filter"
    report "test_$folder" cuda "$best"
  done
fi

# The inspector's pages in a browser, where they are asked for: no other test needs one.
if [ -n "$only" ] && [ $preset = release ] && grep -qE -- "$only" <<<"inspect pages"; then
  begin=$(date +%s)
  log=$logs/inspect_pages.log
  if ! bash "$root/cmake/install_dependencies.sh" "${install[@]}" --browser; then
    fail "inspect pages: there is no browser"
  elif /usr/bin/python3 "$root/tests/browser/inspect_pages.py" "$bin" >"$log" 2>&1; then
    read -r pages _ <<<"$(tail -n 1 "$log")"
    passed=$((passed + pages))
    printf '%-20s %-14s %4s passed, 0 failed, %d s\n' inspect_pages chromium "$pages" $(($(date +%s) - begin))
  else
    cat "$log"
    read -r pages _ broken _ <<<"$(tail -n 1 "$log")"
    case $pages$broken in *[!0-9]* | "") fail "inspect pages ended before they had been looked at" ;; *) passed=$((passed + pages)) failed=$((failed + broken)) ;; esac
  fi
fi

[ $((passed + failed)) -gt 0 ] || echo "run: no test program, device or test case matches '$only'"
finish
