//go:build unix

package headless

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/internal/venv"
	"github.com/budgetmem/budgetmem/kernel/notebook"
)

func TestRun(t *testing.T) {
	kernels(t)
	nb := cells(
		`out("a"); out("b\n"); err("c\n"); out("d\n")`,
		"",
		`send("display_data", {"data": {"text/plain": "0 %"}, "metadata": {}, "transient": {"display_id": "bar"}})`,
		`out("x")
send("update_display_data", {"data": {"text/plain": "100 %"}, "metadata": {}, "transient": {"display_id": "bar"}})
show(text_html="<b>y</b>", image_png="iVBORw0KGgo=")`,
		`import os; out(os.getcwd())`)
	nb.Cells = slices.Insert(nb.Cells, 1, notebook.Cell{Kind: notebook.Markdown, Source: "# Title"})
	nb.Cells[2].Outputs = nb.Cells[0].Outputs
	var watch record
	var saved []int // how many cells had outputs at each saving
	dir := t.TempDir()
	err := Run(t.Context(), nb, Options{Watch: &watch, Dir: dir, Save: func(nb *notebook.Notebook) error {
		n := 0
		for _, text := range texts(nb) {
			if text != "" {
				n++
			}
		}
		saved = append(saved, n)
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"stream:ab|stream:c|stream:d", "", "", "display_data:100 %", "stream:x|display_data:[image/png, text/html]", "stream:" + dir}
	if got := texts(nb); !slices.Equal(got, want) {
		t.Errorf("outputs %q, want %q", got, want)
	}
	if !slices.Equal(saved, []int{1, 2, 3, 4}) {
		t.Errorf("saved with %v cells done", saved)
	}
	if nb.Cells[0].Count != 1 || nb.Cells[5].Count != 4 {
		t.Errorf("execution counts %d and %d", nb.Cells[0].Count, nb.Cells[5].Count)
	}
	if got := watch.String(); !strings.HasPrefix(got, `start 1/6 out("a"); out("b\n"); err("c\n"); out("d\n")|a|b|c|d|end`+"\nstart 4/6 ") {
		t.Errorf("told:\n%s", got)
	}
}

func TestFailures(t *testing.T) {
	dir := kernels(t)
	addKernel(t, dir, "broken", map[string]any{"argv": []string{"sh", "-c", "echo it is broken >&2"}, "display_name": "Broken", "language": "sh"})
	shows := cells(`show(text_html='<div data-show="table:a"></div>')`)
	shows.Metadata["budgetmem"] = []byte(`{"shows": ["table:a", "chart:b"]}`)
	script, err := notebook.ParseScript([]byte("//%% [markdown]\n// # Title\n\n//%%\n\n1/0\n"))
	if err != nil {
		t.Fatal(err)
	}
	allowed := cells("1/0", `out("on")`)
	allowed.Cells[0] = tag(allowed.Cells[0], `["raises-exception"]`)
	for _, c := range []struct {
		name    string
		nb      *notebook.Notebook
		kernel  string
		want    string   // in the error, "" for none
		outputs []string // of the cells
	}{
		{"error", cells(`out("before")`, "1/0", `out("never")`), "", "cell 2: division by zero", []string{"stream:before", "error:ZeroDivisionError: division by zero", ""}},
		{"allowed error", allowed, "", "", []string{"error:ZeroDivisionError: division by zero", "stream:on"}},
		{"error in a script", script, "test", "cell 2: division by zero", nil},
		{"the kernel dies", cells(`out("last words"); import os, time; time.sleep(.1); os._exit(1)`), "", "cell 1: Kernel died", []string{"stream:last words"}},
		{"declared and not shown", shows, "", "declares: chart:b", nil},
		{"unknown kernel", cells(), "no-such", "start the kernel no-such: Jupyter knows no kernel no-such; `make setup`", nil},
		{"kernel that does not start", cells(), "broken", "it is broken", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := Run(t.Context(), c.nb, Options{Kernel: c.kernel, Watch: &record{}})
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("error %v, want %s", err, c.want)
			}
			if got := texts(c.nb); c.outputs != nil && !slices.Equal(got, c.outputs) {
				t.Errorf("outputs %q, want %q", got, c.outputs)
			}
		})
	}
	failure := errors.New("disk full")
	if err := Run(t.Context(), cells("1", "1/0"), Options{Watch: &record{}, Save: func(*notebook.Notebook) error { return failure }}); !errors.Is(err, failure) {
		t.Errorf("an error of saving: %v", err)
	}
}

// checkFailures runs cells one after the other in one kernel; of each case the last must fail as it says, if at all.
func checkFailures(t *testing.T, kernel string, cases []failing) {
	t.Helper()
	nb := forKernel(kernel)
	for _, c := range cases {
		for _, source := range c.cells {
			nb.Cells = append(nb.Cells, notebook.Cell{Kind: notebook.Code, Source: source})
		}
	}
	r, err := begin(t.Context(), nb, Options{Watch: &record{}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.session.close()
	first := 0
	for _, c := range cases {
		var err error
		for i := range c.cells {
			if err = r.cell(t.Context(), first+i); err != nil && i < len(c.cells)-1 {
				t.Errorf("%s: %v", c.name, err)
			}
		}
		// Places are told from the case's first cell, which is @, the second then @1.
		want := regexp.MustCompile(`@(\d*)`).ReplaceAllStringFunc(c.want, func(at string) string {
			n, _ := strconv.Atoi(at[1:])
			return strconv.Itoa(first + n + 1)
		})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: error %v, want %s", c.name, err, want)
		}
		first += len(c.cells)
	}
}

type failing struct {
	name  string
	cells []string
	want  string
}

func TestVerdicts(t *testing.T) {
	kernels(t)
	checkFailures(t, "test", []failing{
		{"exit status", []string{`err("why\n"); err("exit status 3\n")`}, "cell @: why (exit status 3)"},
		{"exit status behind an unfinished line", []string{`err("why"); err("exit status 3\n")`}, "cell @: why (exit status 3)"},
		{"signal", []string{`err("signal: killed\n")`}, "cell @: signal: killed"},
		{"an exit status that another program had", []string{`err("child: exit status 3\n")`}, ""},
		{"unknown command", []string{`err('"%nosuch" unknown or not implemented yet.')`}, `cell @: "%nosuch" unknown`},
	})
}

func TestTimeout(t *testing.T) {
	kernels(t)
	nb := cells(`import time`, `out("begun"); time.sleep(1000)`, `out("never")`)
	begin := time.Now()
	err := Run(t.Context(), nb, Options{Watch: &record{}, Timeout: 500 * time.Millisecond})
	var cell *CellError
	if !errors.As(err, &cell) || cell.Cell != 2 || !strings.Contains(err.Error(), "not done within 500ms") {
		t.Errorf("error %v", err)
	}
	if took := time.Since(begin); took > 15*time.Second {
		t.Errorf("took %v", took)
	}
	if got := texts(nb); got[1] != "stream:begun|error:KeyboardInterrupt: " || got[2] != "" {
		t.Errorf("outputs %q", got)
	}
}

// A cell that does not listen to interrupts ends with its kernel, what it wrote is kept, and what it started ends too.
func TestCancelWhatDoesNotListen(t *testing.T) {
	kernels(t)
	nb := cells(`import os, signal, subprocess, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
child = subprocess.Popen(["sleep", "1000"], preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
out(f"{os.getpid()} {child.pid}\n")
time.sleep(1000)`)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := Run(ctx, nb, Options{Watch: onOutput{cancel}})
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "cell 1: interrupted") {
		t.Errorf("error %v", err)
	}
	written := texts(nb)[0]
	if !regexp.MustCompile(`^stream:\d+ \d+$`).MatchString(written) {
		t.Fatalf("outputs %q", written)
	}
	gone(t, strings.Fields(strings.TrimPrefix(written, "stream:")))
}

// onOutput calls a function for every output.
type onOutput struct{ do func() }

func (onOutput) Start(int, int, string)   {}
func (o onOutput) Output(notebook.Output) { o.do() }
func (onOutput) End(time.Duration)        {}

// sleeper writes the IDs of the kernel, its driver and a program that it starts, and goes on for long.
const sleeper = `import os, subprocess, time
child = subprocess.Popen(["sleep", "1000"])
out(f"{os.getpid()} {os.getppid()} {child.pid}\n")
time.sleep(1000)`

func TestInterrupt(t *testing.T) {
	kernels(t)
	cmd, file, pids, stderr := start(t, sleeper)
	kill(t, cmd.Process.Pid, syscall.SIGINT)
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 1 || !strings.Contains(stderr.String(), "cell 1: interrupted") {
		t.Errorf("%v: %s", err, stderr)
	}
	gone(t, pids)
	nb, err := notebook.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := texts(nb)[0], "stream:"+strings.Join(pids, " ")+"|error:KeyboardInterrupt: "; got != want {
		t.Errorf("saved %q, want %q", got, want)
	}
}

func TestNothingIsLeftWhenKilled(t *testing.T) {
	kernels(t)
	t.Run("the program", func(t *testing.T) {
		cmd, _, pids, _ := start(t, sleeper)
		kill(t, cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		gone(t, pids)
	})
	t.Run("the driver", func(t *testing.T) {
		cmd, _, pids, stderr := start(t, sleeper)
		driver, err := strconv.Atoi(pids[1])
		if err != nil {
			t.Fatal(err)
		}
		kill(t, driver, syscall.SIGKILL)
		if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 1 || !strings.Contains(stderr.String(), "cell 1: its driver ended") {
			t.Errorf("%v: %s", err, stderr)
		}
		gone(t, pids)
	})
}

func TestWithoutPython(t *testing.T) {
	t.Setenv(venv.Env, t.TempDir())
	if err := Run(t.Context(), cells(), Options{}); err == nil || !strings.Contains(err.Error(), "make setup") {
		t.Errorf("error %v", err)
	}
	if err := ExportHTML(t.Context(), cells(), "a.html", "."); err == nil || !strings.Contains(err.Error(), "make setup") {
		t.Errorf("error %v", err)
	}
}

func TestExportHTML(t *testing.T) {
	kernels(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "dot.png"), []byte("\x89PNG\r\n\x1a\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	nb := cells(`show(text_html='<div data-show="chart:a"><script>draw()</script></div>', image_png="iVBORw0KGgo=")`)
	nb.Cells = append(nb.Cells, notebook.Cell{Kind: notebook.Markdown, ID: "m", Source: "# Title\n\n![dot](dot.png) and $\\lambda$ in [a link](https://example.org/)\n\n```mermaid\ngraph\n```"})
	if err := Run(t.Context(), nb, Options{Watch: &record{}}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "page.html")
	if err := ExportHTML(t.Context(), nb, path, dir); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	page := string(data)
	for _, want := range []string{"<title>page</title>", `<script>draw()</script>`, `data-show="chart:a"`, "iVBORw0KGgo=", `src="data:image/png;base64,`, "Content-Security-Policy", `href="https://example.org/"`} {
		if !strings.Contains(page, want) {
			t.Errorf("no %s in the page", want)
		}
	}
	fetched := regexp.MustCompile(`(?i)(?:\bsrc\s*=\s*["']?|\burl\(\s*["']?|@import\s+["']?|\bimport\b[^;\n]*["'])https?:|<link[^>]+href`)
	if found := fetched.FindString(page); found != "" {
		t.Errorf("the page asks the network: %s", found)
	}
	if _, err := os.Stat(filepath.Join(dir, "none.html")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func TestTerminal(t *testing.T) {
	stream := func(text string) (o notebook.Output) {
		if err := o.UnmarshalJSON([]byte(`{"output_type": "stream", "name": "stdout", "text": "` + text + `"}`)); err != nil {
			t.Fatal(err)
		}
		return o
	}
	for _, c := range []struct {
		live bool
		want string
	}{
		{false, "[3/7] answer()\na\nb\n[3/7] T\n"},
		{true, "\r\x1b[K[3/7] T  answer()\r\x1b[Ka\n\r\x1b[K[3/7] T  answer()\r\x1b[Kb\n[3/7] T  answer()\n"},
	} {
		var b strings.Builder
		terminal := NewTerminal(&b, c.live)
		terminal.Start(3, 7, "\n%%\nanswer()\n")
		terminal.Output(stream(`a\n`))
		if c.live {
			terminal.mu.Lock()
			terminal.tick()
			terminal.mu.Unlock()
		}
		terminal.Output(stream("b"))
		terminal.End(1500 * time.Millisecond)
		if got := regexp.MustCompile(`\d+(\.\d)? s\b`).ReplaceAllString(b.String(), "T"); got != c.want {
			t.Errorf("live %v:\n%q, want\n%q", c.live, got, c.want)
		}
	}
}

func TestPlacesOfErrors(t *testing.T) {
	nb := cells("a\nb", "c")
	err := errors.New("oh")
	for _, c := range []struct {
		at   position
		want string
	}{{position{}, "cell 2: oh"}, {position{1, 1}, "cell 2, line 1: oh"}, {position{0, 2}, "cell 2, at line 2 of cell 1: oh"}} {
		if got := newCellError(nb, 1, c.at, err); got.Error() != c.want || !errors.Is(got, err) {
			t.Errorf("%v, want %s", got, c.want)
		}
	}
	script, parseErr := notebook.ParseScript([]byte("//%%\n\na\nb\n\n//%%\nc\n"))
	if parseErr != nil {
		t.Fatal(parseErr)
	}
	if got := newCellError(script, 1, position{0, 2}, err).Error(); got != "line 4 (cell 2): oh" {
		t.Error(got)
	}
}
