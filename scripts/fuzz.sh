#!/bin/sh
# Runs every fuzz target of the module. Usage: fuzz.sh GO TIME
set -eu
go=$1
time=$2
grep -r --include='*_test.go' -o '^func Fuzz[A-Za-z0-9_]*' . | grep -v '/_' | sort | while IFS=: read -r file line; do
	target=${line#func }
	echo "== $target in $(dirname "$file")"
	"$go" test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$(dirname "$file")" </dev/null
done
