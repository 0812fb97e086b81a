#!/bin/sh
# Everything that tries to break the program, one after the other: failing disks, kills, lying endpoints, hostile clients, fuzzed
# inputs. The output goes to FOLDER/torture/PART.txt, a summary of what was done and held to FOLDER/torture.log and the terminal.
# Ends with status 1 if any part failed. Given again after it was stopped, it continues: parts that held are not run again, faults,
# kills and fuzz targets go on where they were. The notes are those of one state of the code; `rm -r FOLDER/torture` starts from nothing.
# Usage: torture.sh GO COUNT FOLDER, where COUNT is how many inputs all fuzz targets together get.
set -u
go=$1 count=$2 out=$3
mkdir -p "$out/torture"
notes=$(cd "$out/torture" && pwd)
commit=$(git describe --always --dirty 2>/dev/null || echo unknown)
if [ -f "$notes/commit" ] && [ "$(cat "$notes/commit")" != "$commit" ]; then
	echo "the notes in $notes are of $(cat "$notes/commit"), this is $commit: parts that held are run again"
	rm -f "$notes"/*.held "$notes/fuzz.tsv"
fi
echo "$commit" >"$notes/commit"
export BUDGETMEM_TORTURE="$notes" BUDGETMEM_SOAK=10m
failed=
part() {
	name=$1
	shift
	if [ -f "$notes/$name.held" ]; then return; fi
	echo "$(date +%H:%M:%S) $name"
	if "$@" >"$notes/$name.txt" 2>&1; then touch "$notes/$name.held"; else failed="$failed $name"; fi
}
part faults "$go" test ./cmd/bmem -run TortureFaults -count 1 -v -timeout 0
part kills "$go" test ./cmd/bmem -run TortureKills -count 1 -v -timeout 0
part tenants "$go" test ./tiers/llm -run Tenants -count 1 -v
part clients "$go" test ./serve -run HostileTraffic -count 1 -v -timeout 60m
part fuzzing "$(dirname "$0")/fuzz_total.sh" "$go" "$count" "$notes"
{
	echo "BudgetMem $commit, $(date -u '+%Y-%m-%d %H:%M') UTC"
	for name in faults kills tenants clients fuzzing; do
		[ -f "$notes/$name.txt" ] && grep -hE 'torture: |hostile requests|^ +[0-9]+ [a-z]|^ *--- FAIL' "$notes/$name.txt" | sed 's/^.*torture: /torture: /'
	done
	if [ -n "$failed" ]; then echo "failed:$failed; see $notes"; else echo "nothing failed"; fi
} | tee "$out/torture.log"
[ -z "$failed" ]
