#!/bin/sh
# Says what is missing on this machine and how to get it. Usage: check_tools.sh GO PYTHON [MINOR],
# the latter for Python 3.MINOR or newer in place of 3.10.
go=$1
python=$2
minor=${3:-10}
missing=

say() {
	echo "missing: $1" >&2
	missing=1
}

if ! command -v "$go" >/dev/null; then
	say "Go 1.26 or newer (Debian: golang-go from backports, or the archive from the Go project; then put its bin folder on PATH)"
elif ! "$go" list -m >/dev/null 2>&1; then # an old Go fetches the one that go.mod names, unless told not to
	say "Go as new as go.mod asks for; this is $("$go" env GOVERSION) and says: $("$go" list -m 2>&1 | tail -n 1)"
fi
if ! command -v "$python" >/dev/null; then
	say "Python 3.$minor or newer (Debian: apt install python3 python3-venv)"
elif ! "$python" -c "import sys; sys.exit(sys.version_info < (3, $minor))"; then
	say "Python 3.$minor or newer; $python is $("$python" --version); name another with make PYTHON=…"
elif ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
	say "Python's venv with pip (Debian: apt install python3-venv)"
fi
if ! command -v "${CC:-gcc}" >/dev/null && ! command -v cc >/dev/null; then
	say "a C compiler, which the XLA engine is called through (Debian: apt install gcc libc6-dev)"
fi
[ -z "$missing" ]
