#!/usr/bin/env bash
# Builds and runs the tests; the last line, "N passed, N failed", counts test cases.
#
#   tests/run.sh               every test; those of kernels and above on every SIMD target that this processor offers
#   tests/run.sh --only REGEX  programs and test cases whose names match (grep -E), e.g. --only golden
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
mkdir -p "$logs"

# The doctest filter for what --only selects in a program: "*" for all of it, nothing where no case matches. Fails when the
# program cannot list its cases.
filter_of() {
  if [ -z "$only" ] || grep -qE -- "$only" <<<"$1"; then
    echo "*"
    return
  fi
  local cases matching
  cases=$("$bin/$1" --list-test-cases --no-colors) || return
  matching=$(sed -e '/^\[doctest\]/d' -e '/^=*$/d' <<<"$cases" | grep -E -- "$only") || [ $? = 1 ]  # 1: none
  sed 's/[\\,]/\\&/g' <<<"$matching" | paste -sd,
}

# run_program PROGRAM FILTER SIMD_TARGET: adds its test cases to the totals; the log is shown when something fails.
run_program() {
  local log=$logs/$1-$3.log status=0 summary
  printf '%-16s %-8s ' "$1" "$3"
  SECONDS=0
  (cd "$logs" && SUBQUAD_SIMD=$3 "$bin/$1" --no-colors --test-case="$2") >"$log" 2>&1 || status=$?
  summary=$(sed -nE 's/^\[doctest\] test cases: *[0-9]+ *\| *([0-9]+) passed *\| *([0-9]+) failed.*/\1 \2/p' "$log")
  local cases_passed=${summary% *} cases_failed=${summary#* }
  printf '%4s passed, %s failed, %d s\n' "${cases_passed:-0}" "${cases_failed:-0}" "$SECONDS"
  passed=$((passed + ${cases_passed:-0}))
  failed=$((failed + ${cases_failed:-0}))
  if [ "$status" != 0 ] || [ -z "$summary" ]; then
    cat "$log"
    [ "${cases_failed:-0}" != 0 ] || fail "$1 ended with status $status and no failed test case"
  elif [ "$summary" = "0 0" ]; then
    fail "$1 ran no test"
  fi
}

mapfile -t targets < <("$bin/test_core" --simd-targets)
for folder in house core kernels autograd nn examples golden; do
  program=test_$folder
  [ -x "$bin/$program" ] || continue
  if ! filter=$(filter_of "$program"); then
    fail "$program cannot list its test cases"
    continue
  fi
  [ -n "$filter" ] || continue
  run_program "$program" "$filter" "${targets[0]}"
  case $preset-$folder in
    release-kernels | release-autograd | release-nn)
      for target in "${targets[@]:1}"; do run_program "$program" "$filter" "$target"; done ;;
  esac
done
[ $((passed + failed)) -gt 0 ] || echo "run: no test program or test case matches '$only'"
finish
