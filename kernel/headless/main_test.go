//go:build unix

package headless

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/budgetmem/budgetmem/internal/testenv"
	"github.com/budgetmem/budgetmem/kernel/notebook"
	"github.com/budgetmem/budgetmem/kernel/tools"
)

// The test program runs a notebook instead of the tests if this names the notebook.
const envRun = "HEADLESS_TEST_RUN"

func TestMain(m *testing.M) {
	if file := os.Getenv(envRun); file != "" {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
		nb, err := notebook.ReadFile(file)
		if err == nil {
			err = Run(ctx, nb, Options{Watch: Plain{os.Stdout, os.Stderr}, Save: func(nb *notebook.Notebook) error { return notebook.WriteFile(file, nb) }})
		}
		stop()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	var err error
	if goDir, err = os.MkdirTemp("", "headless-test-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(goDir)
	os.Exit(code)
}

// python returns the interpreter that `make setup` makes.
func python(t *testing.T) string {
	t.Helper()
	return testenv.Program(t, "python")
}

// kernels returns a folder of kernels, which Jupyter finds for the time of the test: "test" is testdata/kernel.py.
func kernels(t *testing.T) string {
	t.Helper()
	script, err := filepath.Abs("testdata/kernel.py")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	t.Setenv("JUPYTER_PATH", dir)
	addKernel(t, dir, "test", map[string]any{"argv": []string{python(t), script, "{connection_file}"}, "display_name": "Test", "language": "python"})
	return dir
}

func addKernel(t *testing.T, dir, name string, spec map[string]any) {
	t.Helper()
	data, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(dir, "kernels", name)
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, "kernel.json"), data, 0o644)); err != nil {
		t.Fatal(err)
	}
}

// cells returns a notebook of code for the kernel "test".
func cells(sources ...string) *notebook.Notebook {
	var list []notebook.Cell
	for _, source := range sources {
		list = append(list, notebook.Cell{Kind: notebook.Code, Source: source})
	}
	return forKernel("test", list...)
}

func forKernel(name string, list ...notebook.Cell) *notebook.Notebook {
	nb := notebook.New(list...)
	nb.Metadata["kernelspec"] = []byte(fmt.Sprintf(`{"name": %q, "display_name": %q}`, name, name))
	return nb
}

func tag(c notebook.Cell, tags string) notebook.Cell {
	c.Metadata = notebook.Object{"tags": []byte(tags)}
	return c
}

// record is a Watcher that writes down what it is told.
type record struct{ strings.Builder }

func (r *record) Start(number, of int, source string) {
	fmt.Fprintf(r, "start %d/%d %s|", number, of, title(source))
}
func (r *record) Output(o notebook.Output) {
	fmt.Fprintf(r, "%s|", strings.TrimSuffix(textOf(o), "\n"))
}
func (r *record) End(took time.Duration) { fmt.Fprint(r, "end\n") }

// texts returns what the cells show, in one line each.
func texts(nb *notebook.Notebook) []string {
	var all []string
	for _, c := range nb.Cells {
		var parts []string
		for _, o := range c.Outputs {
			parts = append(parts, o.Type()+":"+strings.TrimSuffix(textOf(o), "\n"))
		}
		all = append(all, strings.Join(parts, "|"))
	}
	return all
}

// alive reports whether a process runs. What has ended and was not waited for does not.
func alive(pid string) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(state, "Z")
}

// gone waits for processes to end.
func gone(t *testing.T, pids []string) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for _, pid := range pids {
		for alive(pid) {
			if time.Now().After(deadline) {
				command, _ := os.ReadFile(filepath.Join("/proc", pid, "cmdline"))
				t.Errorf("process %s is left: %q", pid, command)
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// start runs a notebook of the kernel "test" in a process of its own, and returns it with the file and, once the last cell
// has written them, the process IDs that it wrote.
func start(t *testing.T, source string) (cmd *exec.Cmd, file string, pids []string, stderr *strings.Builder) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "a.ipynb")
	if err := notebook.WriteFile(file, cells(source)); err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd = exec.Command(exe)
	cmd.Env = append(os.Environ(), envRun+"="+file)
	stderr = &strings.Builder{}
	cmd.Stderr = stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	line := make([]byte, 200)
	n, err := stdout.Read(line)
	if err != nil {
		t.Fatalf("no process IDs came: %v; %v, %s", err, cmd.Wait(), stderr)
	}
	go io.Copy(io.Discard, stdout)
	return cmd, file, strings.Fields(string(line[:n])), stderr
}

// goDir is where buildGo builds.
var goDir string

// buildGo builds GoNB, and what it needs, once.
var buildGo = sync.OnceValue(func() error {
	return tools.Build(context.Background(), filepath.Join("..", ".."), goDir)
})

// withGo adds the kernel "go" to those of a folder.
func withGo(t *testing.T, dir string) {
	t.Helper()
	if err := buildGo(); err != nil {
		t.Fatal(err)
	}
	addKernel(t, dir, "go", map[string]any{"argv": []string{filepath.Join(goDir, "gonb"), "--kernel", "{connection_file}", "-raw_error"},
		"display_name": "Go", "language": "go", "env": map[string]string{"PATH": goDir + string(os.PathListSeparator) + os.Getenv("PATH")}})
}

func kill(t *testing.T, pid int, signal syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, signal); err != nil {
		t.Fatal(err)
	}
}
