package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/internal/venv"
	"github.com/budgetmem/budgetmem/kernel/kernelspec"
	"github.com/budgetmem/budgetmem/serve/api"
)

// elsewhere has nothing installed.
func elsewhere(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, name := range []string{"JUPYTER_PATH", "JUPYTER_DATA_DIR", venv.Env, "XDG_RUNTIME_DIR"} {
		t.Setenv(name, filepath.Join(dir, name))
	}
	t.Setenv("PATH", filepath.Join(dir, "bin"))
	return dir
}

func TestKernelDoctorSaysWhatToDo(t *testing.T) {
	elsewhere(t)
	t.Setenv(api.EnvServer, "")
	out, err := runVerb(t, "", "kernel", "doctor", "--json")
	if err == nil {
		t.Error("with nothing there: no error")
	}
	var checks []kernelspec.Check
	if err := json.Unmarshal([]byte(out), &checks); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	do := map[string]string{}
	for _, c := range checks {
		do[c.Name] = c.Do
	}
	for name, want := range map[string]string{"kernel": "bmem kernel install", "jupyter": "make setup", "server": ""} {
		if got, ok := do[name]; !ok || !strings.Contains(got, want) || want == "" && got != "" {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if out, _ := runVerb(t, "", "kernel", "doctor"); !strings.Contains(out, "MISSING: the kernel is not installed") {
		t.Errorf("%s", out)
	}
}

func TestKernelRefuses(t *testing.T) {
	dir := elsewhere(t)
	for want, args := range map[string][]string{
		"none of the others can be": {"kernel", "install", "--user", "--prefix", dir},
		"cells are compiled by Go":  {"kernel", "install", "--prefix", dir},
		"uninstall the kernel":      {"kernel", "uninstall", "--prefix", dir},
		"jupyter-lab":               {"notebook"},
		"nowhere.ipynb":             {"notebook", "nowhere.ipynb"},
		"want one file":             {"notebook", "rnu", "a.ipynb"},
	} {
		if _, err := runVerb(t, "", args...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("bmem %s: %v, want %q", strings.Join(args, " "), err, want)
		}
	}
	if _, err := os.Stat(kernelspec.Path(kernelspec.PrefixDir(dir))); err == nil {
		t.Error("a failed install leaves a description")
	}
}
