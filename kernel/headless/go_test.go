//go:build unix

package headless

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/internal/testenv"
	"github.com/budgetmem/budgetmem/kernel/notebook"
)

func TestGo(t *testing.T) {
	withGo(t, kernels(t))
	script, err := os.ReadFile("testdata/cells.go")
	if err != nil {
		t.Fatal(err)
	}
	base, err := notebook.ParseScript(script)
	if err != nil {
		t.Fatal(err)
	}
	base, err = base.WithParameters([]string{"questions=4", "lambda=1", "model=a \"b\"", "verbose=true"})
	if err != nil {
		t.Fatal(err)
	}
	nb := *base
	if err := Run(t.Context(), &nb, Options{Kernel: "go", Watch: &record{}}); err != nil {
		t.Fatal(err)
	}
	if got, want := texts(&nb)[4], `stream:8 1 float64 a "b" true`; got != want {
		t.Errorf("outputs %q, want %q", got, want)
	}
	checkFailures(t, "go", []failing{
		{"a panic of the runtime", []string{"func boom(m map[string]int) {\n\n\tm[\"x\"] = 1\n}", "%%\nfmt.Println(1)\nboom(nil)"}, "cell @1, at line 3 of cell @: panic: assignment to entry in nil map"},
		{"a panic of its own", []string{"%env ABC=b\n\n%%\nfmt.Println(1)\npanic(fmt.Sprint(\"own \", 3))"}, "cell @, line 5: panic: own 3"},
		{"compile errors", []string{"import \"fmt\"\n\nfunc main() {\n\tfmt.Println(1)\n\tfmt.Println(nothing)\n\tnothing2()\n}"}, "cell @, line 5: undefined: nothing"},
		{"a syntax error", []string{"var a = 1", "%%\nfmt.Println(\"a\"\nfmt.Println()"}, "cell @1, line 2: missing ','"},
		{"an exit", []string{"%%\nlog.Fatal(\"no luck\")"}, "no luck (exit status 1)"},
		{"a shell command", []string{"!echo out; false"}, "cell @: exit status 1"},
		{"an unknown command", []string{"%nosuch"}, `cell @: "%nosuch" unknown`},
		{"standard input", []string{"%%\nvar s string\nn, err := fmt.Scanln(&s)\nfmt.Println(s, n, err)"}, "reads standard input"},
		{"standard input that is asked for", []string{"%with_inputs\n%%\nvar s string\nfmt.Scanln(&s)"}, "reads standard input"},
		{"standard input of a shell command", []string{"!cat; false"}, "cell @: exit status 1"},
		{"a failed test", []string{"%test\nfunc TestA(t *testing.T) { t.Error(\"wrong\") }"}, "cell @: exit status 1"},
	})
	t.Run("an interrupt", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		nb := forKernel("go", cells("%%\nfmt.Println(os.Getpid(), os.Getppid())\nselect {\ncase <-time.After(time.Hour):\n}").Cells...)
		begin := time.Now()
		err := Run(ctx, nb, Options{Watch: onOutput{func() { begin = time.Now(); cancel() }}})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
		if took := time.Since(begin); took > 6*time.Second {
			t.Errorf("the cell went on for %v", took)
		}
		first := texts(nb)[0]
		pids := strings.Fields(strings.Split(strings.TrimPrefix(first, "stream:"), "|")[0])
		if len(pids) != 2 {
			t.Fatalf("outputs %q", first)
		}
		gone(t, pids)
	})
}

// TestPapermill runs the real papermill, which must override parameters as this package does.
func TestPapermill(t *testing.T) {
	withGo(t, kernels(t))
	papermill := testenv.Program(t, "papermill")
	script, err := os.ReadFile("testdata/cells.go")
	if err != nil {
		t.Fatal(err)
	}
	nb, err := notebook.ParseScript(script)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in.ipynb"), filepath.Join(dir, "out.ipynb")
	if err := notebook.WriteFile(in, nb); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), papermill, append([]string{in, out, "--kernel", "go", "--no-progress-bar"}, args...)...)
		text, err := cmd.CombinedOutput()
		return string(text), err
	}
	if text, err := run("-p", "questions", "4", "-p", "lambda", "1", "-p", "model", `a "b"`, "-p", "verbose", "true"); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	got, err := notebook.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	want, err := nb.WithParameters([]string{"questions=4", "lambda=1", `model=a "b"`, "verbose=true"})
	if err != nil {
		t.Fatal(err)
	}
	if g, w := got.Cells[2], want.Cells[2]; strings.TrimSpace(g.Source) != w.Source || !slices.Equal(g.Tags(), w.Tags()) {
		t.Errorf("papermill injects\n%s\nwe inject\n%s", g.Source, w.Source)
	}
	if got, want := texts(got)[4], `stream:8 1 float64 a "b" true`; got != want {
		t.Errorf("outputs %q, want %q", got, want)
	}
	for _, c := range []struct{ name, value, want string }{
		{"quesitons", "4", "no parameter quesitons is declared; did you mean questions?"},
		{"questions", "4.5", "parameter questions is int; 4.5 is not"},
	} {
		if text, err := run("--prepare-only", "-p", c.name, c.value); err == nil || !strings.Contains(text, c.want) {
			t.Errorf("%s=%s: %v: %s", c.name, c.value, err, text)
		}
	}
	text, err := run("--help-notebook")
	if want := "questions: int (default 12)"; err != nil || !strings.Contains(text, want) {
		t.Errorf("%v: no %s in\n%s", err, want, text)
	}
}
