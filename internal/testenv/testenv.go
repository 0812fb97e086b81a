// Package testenv decides what a test does when this machine lacks something it needs: a model, the XLA plugin, a Python
// environment. Such a test is skipped on a bare checkout and fails where BUDGETMEM_TEST_REQUIRE is set, as `make test` does, so that a green run
// means that every test has run.
package testenv

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/budgetmem/budgetmem/internal/venv"
)

// envName makes tests fail for what is missing if it is "all"; empty or unset skips them.
const envName = "BUDGETMEM_TEST_REQUIRE"

// required reports whether a missing model, plugin or Python environment fails tests.
func required(t testing.TB) bool {
	t.Helper()
	switch v := os.Getenv(envName); v {
	case "":
		return false
	case "all":
		return true
	default:
		t.Fatalf("%s=%s: set it to all, or unset it", envName, v)
		return false
	}
}

// init lets tests, which are compiled into temporary folders, find the checkout's Python environment and XLA plugin: programs
// look for them only beside themselves or where venv.Env says. `go test` runs a test in the folder of its sources.
func init() {
	dir, err := os.Getwd()
	for ; err == nil && os.Getenv(venv.Env) == ""; dir = filepath.Dir(dir) {
		if venv.IsSource(dir) == nil {
			err = os.Setenv(venv.Env, filepath.Join(dir, ".venv"))
		}
		if dir == filepath.Dir(dir) {
			return
		}
	}
}

// Missing ends a test that lacks something: it fails if BUDGETMEM_TEST_REQUIRE=all, and is skipped otherwise. What it lacks is an error or a
// text that also says how to get it.
func Missing(t testing.TB, what any) {
	t.Helper()
	if required(t) {
		t.Fatal(what)
	}
	t.Skip(what)
}

// Partly logs that a test runs without a part of it, such as one backend of two; it fails if BUDGETMEM_TEST_REQUIRE=all.
func Partly(t testing.TB, what any) {
	t.Helper()
	if required(t) {
		t.Fatal(what)
	}
	t.Log("runs without a part: ", what)
}

// Slow skips a test under -short.
func Slow(t testing.TB, why string) {
	t.Helper()
	if testing.Short() {
		t.Skip("left out of a short test: it " + why)
	}
}

// Long returns the size that an environment variable gives a test which takes too long to be among the others. Without it the test is
// skipped, whatever is required: `make` with the target runs it.
func Long(t testing.TB, env, target string) int {
	t.Helper()
	n, err := strconv.Atoi(os.Getenv(env))
	if err != nil || n < 1 {
		t.Skipf("make %s runs it; %s is its size", target, env)
	}
	return n
}

// Program returns the path of a program of the Python environment that `make setup` makes, such as python or papermill.
func Program(t testing.TB, name string) string {
	t.Helper()
	path, err := venv.Program(name)
	if err != nil {
		Missing(t, err)
	}
	return path
}

// Python returns the interpreter of the environment .venv/name, which can import module. `make target` makes it.
func Python(t testing.TB, name, module, target string) string {
	t.Helper()
	path, err := venv.Program("../" + name + "/bin/python")
	if err == nil {
		err = exec.CommandContext(t.Context(), path, "-c", "import "+module).Run()
	}
	if err != nil {
		Missing(t, "no Python package "+module+" in .venv/"+name+": run `make "+target+"`")
	}
	return path
}
