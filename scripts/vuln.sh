#!/bin/sh
# Runs govulncheck on this module and its Go standard library with the newest Go vulnerability database. That is taken as a Go
# module, golang.org/x/vulndb, so that the module proxy is all that has to be reached. Usage: GO=go TOOLS=bin/tools vuln.sh
set -eu
out=$TOOLS/vulndb
module=$("$GO" mod download -json golang.org/x/vulndb@latest) || {
	echo "NOT CHECKED: the Go vulnerability database cannot be downloaded: $module" >&2
	exit 1
}
field() { echo "$module" | sed -n "s/^.*\"$1\": \"\(.*\)\".*$/\1/p"; }
dir=$(field Dir)
version=$(field Version)
if [ ! -e "$out/$version" ]; then
	GOBIN=$(cd "$TOOLS" && pwd) "$GO" install "golang.org/x/vulndb/cmd/indexdb@$version"
	rm -rf "$out"
	"$TOOLS/indexdb" -out "$out" -vulns "$dir/data/osv"
	touch "$out/$version"
fi
echo "Go vulnerability database $version"
exec "$TOOLS/govulncheck" -db "file://$(cd "$out" && pwd)" ./...
