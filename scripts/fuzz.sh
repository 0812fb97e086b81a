#!/bin/sh
# Runs every fuzz target of the module. Usage: fuzz.sh GO TIME, where TIME is as for -fuzztime: 60s, or 10000x for so many inputs
set -eu
go=$1
time=$2
failed=0 targets=0
list=$(mktemp)
trap 'rm -f "$list"' EXIT
grep -r --include='*_test.go' -o '^func Fuzz[A-Za-z0-9_]*' . | grep -v '/_' | grep -v '^./\.' | sort >"$list"
while IFS=: read -r file line; do
	target=${line#func }
	targets=$((targets + 1))
	echo "== $target in $(dirname "$file")"
	"$go" test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 20x "$(dirname "$file")" </dev/null || failed=$((failed + 1))
done <"$list"
echo "fuzzed $targets targets with $time each, $failed failed"
[ "$failed" = 0 ]
