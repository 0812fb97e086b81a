package faulttest_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/budgetmem/budgetmem/internal/faulttest"
	"github.com/budgetmem/budgetmem/internal/testenv"
)

const childEnv = "FAULTTEST_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		faulttest.SetTrap()
		if err := child(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child makes each operation twice.
func child(dir string) error {
	for _, name := range []string{"a", "b"} {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		_, werr := f.WriteString("x")
		_, rerr := f.ReadAt(make([]byte, 1), 0)
		if err := errors.Join(werr, rerr, f.Sync(), f.Close(), os.Rename(f.Name(), f.Name()+"2")); err != nil {
			return err
		}
	}
	return nil
}

func TestRun(t *testing.T) {
	if !faulttest.Supported {
		testenv.Missing(t, "faults cannot be injected on this system")
	}
	run := func(fault faulttest.Fault) (faulttest.Counts, string, error) {
		dir := t.TempDir()
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childEnv+"="+dir)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		counts, err := faulttest.Run(cmd, dir, fault)
		return counts, out.String(), err
	}
	counts, out, err := run(faulttest.Fault{})
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, kind := range faulttest.Kinds {
		if counts[kind] != 2 {
			t.Errorf("%d of kind %s, want 2", counts[kind], kind)
		}
		for n, want := range map[int]string{1: "a", 2: "b", 3: ""} {
			_, out, err := run(faulttest.Fault{Kind: kind, N: n, Error: syscall.EDQUOT})
			if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(out, syscall.EDQUOT.Error())) {
				t.Errorf("%s %d: %v\n%s", kind, n, err, out)
			}
		}
	}
}
