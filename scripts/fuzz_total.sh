#!/bin/sh
# Fuzzes every target of the module with TOTAL inputs in all. First each target runs for a quarter of a minute; what is then
# missing is shared out by speed, so that all targets get about the same time and slow parsers do not decide how long it takes;
# each gets a thousand more at least.
# What was done is noted in FOLDER/fuzz.tsv, and is not done again if this is started again. Ends with a table, and with status 1
# if a target failed. Usage: fuzz_total.sh GO TOTAL FOLDER
set -eu
go=$1 total=$2 folder=$3
mkdir -p "$folder"
done=$folder/fuzz.tsv # pass, folder, target, inputs, seconds, held or failed
touch "$done"

# fuzz PASS TIME DIR TARGET runs a target and notes how many inputs it got.
fuzz() {
	grep -q "^$1	$3	$4	" "$done" && return
	began=$(date +%s)
	outcome=held
	"$go" test -run '^$' -vet off -fuzz "^$4\$" -fuzztime "$2" -fuzzminimizetime 20x "$3" </dev/null >"$folder/fuzz.out" 2>&1 || outcome=failed
	inputs=$(sed -n 's/^fuzz: elapsed: .*, execs: \([0-9]*\) .*/\1/p' "$folder/fuzz.out" | tail -1)
	seconds=$(sed -n 's/^fuzz: elapsed: \(.*\), execs: .*/\1/p' "$folder/fuzz.out" | tail -1 | awk -F'[hms]' '/h/ {print $1*3600+$2*60+$3; next} /m/ {print $1*60+$2; next} {print $1}')
	# Without a number, the time was over before the corpus was read.
	if [ $outcome = failed ]; then cat "$folder/fuzz.out"; fi
	printf '%s\t%s\t%s\t%d\t%d\t%s\n' "$1" "$3" "$4" "${inputs:-0}" "${seconds:-0}" $outcome >>"$done"
	echo "$(date +%H:%M:%S) fuzzed $3 $4: ${inputs:-0} inputs, $(($(date +%s) - began)) s with building, $outcome"
}

grep -r --include='*_test.go' -o '^func Fuzz[A-Za-z0-9_]*' . | grep -v '/_' | grep -v '^./\.' | sort >"$folder/targets"
while IFS=: read -r file line; do
	fuzz 1 15s "$(dirname "$file")" "${line#func }"
done <"$folder/targets"
# The share of a target is the inputs it got in the first pass, which had the same time for all.
awk -F'\t' -v total="$total" 'BEGIN {n = 0} $1 == 1 {name[n] = $2 "\t" $3; got[n++] = $4; sum += $4}
	END {for (i = 0; i < n; i++) {more = (total - sum) * got[i] / sum * 1.01; if (sum < total) printf "%s\t%d\n", name[i], more < 1000 ? 1000 : more}}' "$done" | sort -t '	' -k 3 -nr >"$folder/shares"
while IFS='	' read -r dir target count; do
	fuzz 2 "${count}x" "$dir" "$target"
done <"$folder/shares"
awk -F'\t' 'BEGIN {n = 0} {key = $2 " " $3; if (!(key in inputs)) order[n++] = key; inputs[key] += $4; seconds[key] += $5; sum += $4; if ($6 != "held") {bad[key] = 1; failed++}}
	END {for (i = 0; i < n; i++) printf "%10d inputs in %5d s  %s%s\n", inputs[order[i]], seconds[order[i]], order[i], order[i] in bad ? "  FAILED" : ""
		printf "torture: fuzzing: %d inputs over %d targets, %d failed\n", sum, n, failed + 0}' "$done"
! grep -q '	failed$' "$done"
