package testenv

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/internal/venv"
)

// recorder is a test that notes how it ended.
type recorder struct {
	testing.TB
	ended string
}

func (r *recorder) Helper()         {}
func (r *recorder) Log(args ...any) { r.ended = fmt.Sprint("log ", fmt.Sprint(args...)) }
func (r *recorder) Skip(args ...any) {
	r.ended = fmt.Sprint("skip ", fmt.Sprint(args...))
	runtime.Goexit()
}
func (r *recorder) Fatal(args ...any) {
	r.ended = fmt.Sprint("fatal ", fmt.Sprint(args...))
	runtime.Goexit()
}
func (r *recorder) Fatalf(format string, args ...any) { r.Fatal(fmt.Sprintf(format, args...)) }

// run returns how a test that does f ends.
func run(t *testing.T, f func(testing.TB)) string {
	t.Helper()
	r := &recorder{TB: t, ended: "passed"}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(r)
	}()
	<-done
	return r.ended
}

func TestMissing(t *testing.T) {
	t.Setenv(venv.Env, t.TempDir())
	missing := func(t testing.TB) { Missing(t, "no model") }
	partly := func(t testing.TB) { Partly(t, "no plugin") }
	program := func(t testing.TB) { Program(t, "python") }
	python := func(t testing.TB) { Python(t, "client", "openai", "client") }
	for _, c := range []struct {
		env  string
		f    func(testing.TB)
		want string
	}{
		{"", missing, "skip no model"}, {"all", missing, "fatal no model"}, {"some", missing, "fatal " + envName + "=some"},
		{"", partly, "log runs without"}, {"all", partly, "fatal no plugin"},
		{"", program, "skip no python"}, {"all", program, "fatal no python"},
		{"", python, "skip no Python package openai"}, {"all", python, "fatal no Python package openai"},
	} {
		t.Setenv(envName, c.env)
		if got := run(t, c.f); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s=%q: %q, want %q", envName, c.env, got, c.want)
		}
	}
}

// Every skip in the tree goes through this package, so that none passes a required run unseen.
func TestSkipsGoThroughHere(t *testing.T) {
	direct := regexp.MustCompile(`\b[tb]\.Skip(f|Now)?\(`)
	seen := 0
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && d.Name() != "." && d.Name() != ".." || d.Name() == "testenv" {
			return filepath.SkipDir
		}
		if filepath.Ext(path) != ".go" {
			return nil
		}
		seen++
		data, err := os.ReadFile(path)
		if found := direct.Find(data); found != nil {
			t.Errorf("%s calls %s…): call a function of internal/testenv", filepath.Clean(path), found)
		}
		return err
	})
	if err != nil || seen < 100 {
		t.Errorf("%d files, %v", seen, err)
	}
}
