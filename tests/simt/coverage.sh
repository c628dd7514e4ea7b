#!/usr/bin/env bash
# coverage.sh LOG PROGRAM...: fails for every kernel in the symbol tables of the programs (or object files) that the tests
# have never launched, launched fewer than three times, or never with more than one block, unless its name ends in _once:
# made for one block. LOG is the file that SUBQUAD_SIMT_COVERAGE named while the programs ran; all of them append to it.
set -euo pipefail
[ $# -ge 2 ] || { sed -n '2,4s/^# //p' "$0" >&2; exit 2; }
log=$1
shift
[ -r "$log" ] || { echo "coverage.sh: no log $log: SUBQUAD_SIMT_COVERAGE names it while the tests run" >&2; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# "program type symbol" of what may be a kernel: a function with the ABI tag, but none nested in another (_ZZ...) and no
# part of one that the compiler has moved away (with a dot in its name).
for program in "$@"; do
  nm --defined-only "$program" |
    awk -v program="$program" '$2 ~ /^[tTwW]$/ && $3 ~ /B6kernel/ && $3 !~ /^_ZZ|[.]/ {print program, $2, $3}'
done > "$work/symbols"
cut -d ' ' -f 3 "$work/symbols" | c++filt > "$work/names"

paste -d ' ' "$work/symbols" "$work/names" | awk '
  function complain(what, name) { print what ": " name; failed = 1 }
  FILENAME != "-" { launches[$1] += $2; if ($3 > blocks[$1]) blocks[$1] = $3; next }
  {
    program = $1; type = $2; symbol = $3
    name = $0; sub(/^[^ ]+ [^ ]+ [^ ]+ /, "", name)
    gsub(/\(anonymous namespace\)::/, "", name)
    if (name !~ /^(void )?[A-Za-z0-9_:]+\[abi:kernel\][<(]/) next  # the tag belongs to one of its arguments
    sub(/\[abi:kernel\]/, "", name)
    if (type == "t" && (program, symbol) in defined) complain("two kernels share this name in " program, name)
    defined[program, symbol]
    if (symbol in seen) next
    seen[symbol]
    ++count
    if (launches[symbol] == 0) complain("never launched", name)
    else if (launches[symbol] < 3) complain("launched fewer than three times", name)
    else if (blocks[symbol] < 2 && name !~ /_once[<(]/) complain("never launched with more than one block", name)
  }
  END {
    if (count == 0) { print "no kernels found"; failed = 1 }
    if (!failed) print count " kernels, each launched three times or more and with more than one block"
    exit failed
  }' "$log" -
