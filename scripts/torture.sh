#!/bin/sh
# Everything that tries to break the program, one after the other: failing disks, kills, lying endpoints, hostile clients, fuzzed
# inputs. The whole output goes to FOLDER/torture.txt, a summary of what was done to FOLDER/torture.log and the terminal. Ends
# with status 1 if any part failed. Usage: torture.sh GO TIME COUNT FOLDER, where TIME is what faults and kills may take each,
# and COUNT is how many inputs each fuzz target gets.
set -u
go=$1 time=$2 count=$3 out=$4
mkdir -p "$out"
: >"$out/torture.txt"
failed=
part() {
	name=$1
	shift
	echo "$(date +%H:%M:%S) $name"
	"$@" >>"$out/torture.txt" 2>&1 || failed="$failed $name"
}
export BUDGETMEM_TORTURE="$time" BUDGETMEM_SOAK=10m
part faults "$go" test ./cmd/bmem -run TortureFaults -count 1 -v -timeout 0
part kills "$go" test ./cmd/bmem -run TortureKills -count 1 -v -timeout 0
part tenants "$go" test ./tiers/llm -run Tenants -count 1 -v
part clients "$go" test ./serve -run HostileTraffic -count 1 -v -timeout 60m
part fuzzing "$(dirname "$0")/fuzz.sh" "$go" "${count}x"
{
	grep -E 'torture:|hostile requests|^ +[0-9]+ [a-z]|^ *--- FAIL|^fuzzed ' "$out/torture.txt"
	if [ -n "$failed" ]; then echo "failed:$failed; see $out/torture.txt"; else echo "nothing failed"; fi
} | tee "$out/torture.log"
[ -z "$failed" ]
