//go:build unix

package kernelspec

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/internal/models"
	"github.com/budgetmem/budgetmem/internal/models/modelstest"
	"github.com/budgetmem/budgetmem/internal/testenv"
	"github.com/budgetmem/budgetmem/serve/api"
	"github.com/budgetmem/budgetmem/serve/registry"
)

// front is a front end with a kernel of its own, as `make setup` has installed it.
type front struct {
	t     testing.TB
	place registry.Registry // where its server is
	front *os.Process
	stdin io.WriteCloser
	out   *json.Decoder
	end   func()
}

// answer is what drive.py answers.
type answer struct {
	Status, Error, Traceback, Text string
	Mimes, Matches                 []string
	Seconds, Interrupted           float64
	PID                            int
}

// start starts a kernel that works in an empty folder, with a server and a cache of its own.
func start(t testing.TB) *front {
	t.Helper()
	python := testenv.Program(t, "python")
	if _, _, err := Find(); err != nil {
		t.Fatalf("%v (or `make setup`)", err)
	}
	catalogue, err := models.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(models.EnvDir, catalogue.Dir) // by its path, as the cache folder changes
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	t.Setenv("BUDGETMEM_CACHE", t.TempDir())
	t.Setenv(api.EnvServer, "")
	t.Setenv("JUPYTER_PATH", strings.Join(dirs(), string(os.PathListSeparator)))
	f := &front{t: t}
	if f.place, err = registry.Default(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, filepath.Join("testdata", "drive.py"), t.TempDir())
	cmd.Stderr = os.Stderr
	if f.stdin, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	f.front = cmd.Process
	f.out = json.NewDecoder(bufio.NewReader(stdout))
	f.end = sync.OnceFunc(func() {
		f.stdin.Close()
		_ = cmd.Wait() // of a kernel that was killed it says so
	})
	t.Cleanup(f.end)
	return f
}

func (f *front) ask(command map[string]any) answer {
	f.t.Helper()
	line, err := json.Marshal(command)
	if err != nil {
		f.t.Fatal(err)
	}
	if _, err := f.stdin.Write(append(line, '\n')); err != nil {
		f.t.Fatal(err)
	}
	var a answer
	if err := f.out.Decode(&a); err != nil {
		f.t.Fatalf("no answer to %s: %v", line, err)
	}
	return a
}

func (f *front) run(source string) answer {
	f.t.Helper()
	return f.ask(map[string]any{"run": source})
}

// complete completes at the end of a source.
func (f *front) complete(source string) answer {
	f.t.Helper()
	return f.ask(map[string]any{"complete": source, "at": len(source)})
}

// warm waits until the language server knows the packages. It needs a while of its own between questions.
func (f *front) warm() {
	f.t.Helper()
	eventually(f.t, "completion of bmem.", 3*time.Minute, func() bool {
		time.Sleep(2 * time.Second)
		return slices.Contains(f.complete("%%\nbmem.").Matches, "Open")
	})
}

func eventually(t testing.TB, what string, limit time.Duration, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never: " + what)
		}
	}
}

// alive says whether a process is there and has not ended, reaped or not.
func alive(pid int) bool {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	_, rest, _ := strings.Cut(string(data), ") ")
	return err == nil && !strings.HasPrefix(rest, "Z")
}

var ansi = regexp.MustCompile("\x1b\\[[0-9;]*m")

func TestKernel(t *testing.T) {
	testenv.Slow(t, "runs the real kernel")
	f := start(t)

	// No set-up cell, not even an import; any working folder.
	a := f.run("%%\nfmt.Println(bmem.DefaultTopK, \"chunks\")")
	if a.Status != "ok" || a.Text != "5 chunks\n" {
		t.Fatalf("a cell that uses our package: %+v", a)
	}
	a = f.run("import \"github.com/budgetmem/budgetmem/tiers\"\n\n%%\nfmt.Println(tiers.NumModules)")
	if a.Status != "ok" || a.Text != "6\n" {
		t.Errorf("a cell that imports our package: %+v", a)
	}
	if dir := f.run("!pwd").Text; strings.HasPrefix(strings.TrimSpace(dir), sourceDir(t)) {
		t.Errorf("the kernel works in %s, within the sources", dir)
	}

	for name, c := range map[string]struct{ source, says, traceback string }{
		"a panic":                {"%%\nx := []int{1}\ni := len(os.Args) + 3\nfmt.Println(x[i])", "Line 4: panic: runtime error: index out of range", "Line 4"},
		"a panic in a function":  {"// fall is called below.\nfunc fall(n int) {\n\tpanic(fmt.Sprint(\"fell \", n))\n}\n\n%%\nfall(3)", "Line 3: panic: fell 3", "Line 3"},
		"an exit":                {"%%\nlog.Fatal(\"no luck\")", "no luck (exit status 1)", ""},
		"a compile error":        {"%%\nfmt.Println(1)\nfmt.Println(nothing)", "Line 3: undefined: nothing", "Line 3"},
		"one in a function":      {"// Number is wrong.\nfunc Number() int {\n\treturn \"a\"\n}", "Line 3: cannot use \"a\"", "Line 3"},
		"a mistake in the form":  {"%%\nfmt.Println(", "Line 2", ""},
		"what fails to be asked": {"%%\nquick.Open(\"nowhere.jsonl\")", "Line 2: panic: open nowhere.jsonl: read a conversation", "Line 2"},
	} {
		times := 1
		if strings.Contains(c.says, "panic:") {
			times = 2 // a stack trace comes in pieces that are cut anywhere
		}
		for range times {
			a := f.run(c.source)
			if a.Status != "error" || !strings.Contains(a.Error, c.says) {
				t.Errorf("%s: %s %q, want %q", name, a.Status, a.Error, c.says)
			}
			if !strings.Contains(ansi.ReplaceAllString(a.Traceback, ""), c.traceback) {
				t.Errorf("%s: traceback %q", name, a.Traceback)
			}
		}
	}

	for name, c := range map[string]struct {
		source string
		after  float64
	}{
		"computes":           {"%%\nfmt.Println(\"begun\")\nfor i := 0; ; i++ {\n}", 3},
		"ignores interrupts": {"%%\nsignal.Ignore(os.Interrupt)\nfmt.Println(\"begun\")\ntime.Sleep(time.Hour)", 3},
		"waits for another":  {"%%\nfmt.Println(\"begun\")\nc := exec.Command(\"sleep\", \"20\")\nc.Stdout = os.Stdout\nc.Run()", 3},
		"is compiled":        {"%%\nfmt.Println(\"not begun\", " + strconv.Itoa(os.Getpid()) + ")\ntime.Sleep(time.Hour)", 0.05},
	} {
		a := f.ask(map[string]any{"run": c.source, "interrupt": c.after})
		if a.Status != "error" || a.Interrupted > 6 {
			t.Errorf("a cell that %s went on for %.1f s after an interrupt: %+v", name, a.Interrupted, a)
		}
		if begun := strings.HasPrefix(a.Text, "begun"); begun != (c.after > 1) {
			t.Errorf("a cell that %s wrote %q", name, a.Text)
		}
		if a := f.run("%%\nfmt.Println(\"alive\")"); a.Text != "alive\n" {
			t.Fatalf("after that: %+v", a)
		}
	}

	f.warm() // bmem need not be imported
	for source, want := range map[string]string{
		"%%\nbmem.With":                                "WithTiers",
		"%%\nquick.O":                                  "Open",
		"%%\ntalk := quick.Open(\"a\")\ntalk.":         "Ask",
		"%%\na := quick.Open(\"a\").Ask(\"b\")\na.Tex": "Text",
	} {
		// On a busy machine gopls stops early, and it goes on by itself only between questions.
		eventually(t, fmt.Sprintf("completion of %q to %s", source, want), 2*time.Minute, func() bool {
			known := slices.Contains(f.complete(source).Matches, want)
			if !known {
				time.Sleep(3 * time.Second)
			}
			return known
		})
	}
	source := "%%\ntalk := quick.Open(\"a\")"
	if a := f.ask(map[string]any{"inspect": source, "at": strings.Index(source, "Open") + 2}); !strings.Contains(a.Text, "Open opens the conversation in a file") {
		t.Errorf("documentation of quick.Open: %q", a.Text)
	}
}

func sourceDir(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// A question through the kernel: the server comes up with it, and goes with the kernel, also if that is killed.
func TestKernelAsks(t *testing.T) {
	testenv.Slow(t, "runs the real kernel with real models")
	modelstest.Path(t, "smollm2-135m-instruct")
	f := start(t)
	a := f.run(askCell("When did Rita sign up for the pottery class?"))
	if a.Status != "ok" || !strings.Contains(a.Text, "answer: ") {
		t.Fatalf("%+v", a)
	}
	server, ok := f.place.Running()
	if !ok {
		t.Fatal("no server runs")
	}
	pid := f.ask(map[string]any{"pid": true}).PID
	children := descendants(pid)
	if len(children) < 2 {
		t.Fatalf("descendants of the launcher %v, want GoNB and gopls", children)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for _, child := range children {
		what, _ := os.ReadFile("/proc/" + strconv.Itoa(child) + "/cmdline") // for the message
		// GoNB ends at once; gopls a minute after it has lost its last client.
		eventually(t, fmt.Sprintf("the end of %q", what), 80*time.Second, func() bool { return !alive(child) })
	}
	eventually(t, "the end of the server", registry.Linger+20*time.Second, func() bool { return !alive(server.PID) })
}

// When the front end is killed, its kernel ends.
func TestKernelEndsWithItsFrontEnd(t *testing.T) {
	testenv.Slow(t, "runs the real kernel")
	f := start(t)
	pid := f.ask(map[string]any{"pid": true}).PID
	if err := f.front.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end of the launcher", 20*time.Second, func() bool { return !alive(pid) })
}

// askCell is a cell that asks the smallest model, and writes how long that took the model.
func askCell(question string) string {
	file, err := filepath.Abs(filepath.Join("..", "..", "examples", "conversation.jsonl"))
	if err != nil {
		panic(err)
	}
	return `import (
	"github.com/budgetmem/budgetmem/bmem/quick"
	"github.com/budgetmem/budgetmem/bmem/setup"
)

%%
talk := quick.OpenWith(setup.Spec{Model: "smollm2-135m-instruct"}, ` + strconv.Quote(file) + `)
a := talk.Ask(` + strconv.Quote(question) + `)
fmt.Printf("answer: %s\nmodel: %.3f s\n", a.Text, a.Trace.Usage().MS/1000)`
}

// descendants are the processes below one, as /proc tells.
func descendants(pid int) (all []int) {
	files, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is a good one
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(data), ") ")
		if fields := strings.Fields(rest); len(fields) > 1 && fields[1] == strconv.Itoa(pid) {
			child, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			all = append(append(all, child), descendants(child)...)
		}
	}
	return all
}
