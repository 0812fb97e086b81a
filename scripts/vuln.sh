#!/bin/sh
# Runs govulncheck on this module and its Go standard library with the newest Go vulnerability database. That is taken as a Go
# module, golang.org/x/vulndb, so that the module proxy is all that has to be reached. Usage: GO=go TOOLS=bin/tools vuln.sh
set -eu
# The standard library that is checked is that of the toolchain in go.mod, which Go fetches by itself unless told not to.
GOTOOLCHAIN=$(sed -n 's/^toolchain //p' go.mod)
here=$(GOTOOLCHAIN=local "$GO" env GOVERSION)
export GOTOOLCHAIN
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
echo "Go vulnerability database $version, $GOTOOLCHAIN"
case $here in
"$GOTOOLCHAIN"*) ;;
*) echo "note: this machine's own Go is $here; with GOTOOLCHAIN=local, programs are built with its standard library, which is not checked here" ;;
esac
exec "$TOOLS/govulncheck" -db "file://$(cd "$out" && pwd)" ./...
