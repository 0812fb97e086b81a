package display

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/janpfeifer/gonb/gonbui/protocol"

	"github.com/budgetmem/budgetmem/kernel/chart"
)

// A cell's program is played by the test binary itself: gonbui looks at the environment before any test runs.
const cellEnv = "BUDGETMEM_TEST_CELL"

func TestMain(m *testing.M) {
	name := os.Getenv(cellEnv)
	if name == "" {
		os.Exit(m.Run())
	}
	if err := cells[name](); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func frontier(title string) chart.Chart {
	return chart.Frontier(title, "F1", []chart.Family{{Name: "low", Points: []chart.Point{{Dollars: 1e-5, Score: 0.25}}}})
}

var cells = map[string]func() error{
	"all": func() error {
		return errors.Join(HTML("<b>bold</b>", "bold"), Markdown("*text*"),
			Table("scores", chart.Table{Title: "scores", Rows: [][]string{{"policy", "score"}, {"a<b", "0.25"}, {"c", "0.5"}}}),
			Chart("frontier", frontier("first")))
	},
	"frontier": func() error { return Chart("frontier", frontier("first")) },
	"second":   func() error { return Chart("second", frontier("second")) },
	"twice": func() error {
		return errors.Join(Chart("frontier", frontier("first")), Chart("frontier", frontier("first")))
	},
	"many": func() error {
		var wg sync.WaitGroup
		errs := make([]error, 8)
		for g := range errs {
			wg.Go(func() {
				for i := range 25 {
					errs[g] = errors.Join(errs[g], HTML(strings.Repeat("x", 10_000), fmt.Sprintf("%d-%d", g, i)))
				}
			})
		}
		wg.Wait()
		return errors.Join(errs...)
	},
	"progress": func() error {
		bar := Progress(context.Background(), "answers")
		for i := range 101 {
			bar.Set(i, 100, "$0.01 <")
		}
		bar.End(nil)
		bar.Set(1, 100, "late")
		return nil
	},
	"cancelled": func() error {
		ctx, cancel := context.WithCancelCause(context.Background())
		bar := Progress(ctx, "answers")
		bar.Set(3, 9, "")
		cancel(errors.New("interrupted"))
		for { // End comes from the context
			bar.mu.Lock()
			ended := bar.ended
			bar.mu.Unlock()
			if ended {
				return nil
			}
			time.Sleep(time.Millisecond)
		}
	},
	"unheard": func() error {
		return sendWithin(300*time.Millisecond, &protocol.DisplayData{Data: content{protocol.MIMETextPlain: "x"}})
	},
	"names": func() error {
		return errors.Join(Chart(`a"b`, frontier("")), Table("", chart.Table{}))
	},
}

// kernel plays GoNB's side of its pipes (see its package gonbui/protocol): it reads outputs, each after a pause,
// acknowledges when it is asked to, and reads nothing more once the program has ended.
func kernel(t *testing.T, cell, session string, pause time.Duration) (outputs []*protocol.DisplayData, stderr string, err error) {
	t.Helper()
	dir := t.TempDir()
	out, back := filepath.Join(dir, "out"), filepath.Join(dir, "back")
	for _, path := range []string{out, back} {
		if err := syscall.Mkfifo(path, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), cellEnv+"="+cell, protocol.GONB_PIPE_ENV+"="+out, protocol.GONB_PIPE_BACK_ENV+"="+back, protocol.GONB_TMP_DIR_ENV+"="+session)
	var log bytes.Buffer
	cmd.Stderr = &log
	// Opened for both directions, so that neither side waits for the other.
	reader, err := os.OpenFile(out, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	writer, err := os.OpenFile(back, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		dec, enc := gob.NewDecoder(reader), gob.NewEncoder(writer)
		for {
			var d protocol.DisplayData
			if err := dec.Decode(&d); err != nil {
				if errors.Is(err, os.ErrClosed) || errors.Is(err, io.EOF) {
					err = nil
				}
				done <- err
				return
			}
			if v, ok := d.Data[protocol.MIMECommValue].(protocol.CommValue); ok {
				if cell == "unheard" {
					continue
				}
				if err := enc.Encode(&protocol.CommValue{Address: protocol.GonbuiSyncAckAddress, Value: v.Value}); err != nil {
					done <- err
					return
				}
				continue
			}
			time.Sleep(pause)
			outputs = append(outputs, &d)
		}
	}()
	err = cmd.Wait()
	reader.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return outputs, log.String(), err
}

func run(t *testing.T, cell, session string) []*protocol.DisplayData {
	t.Helper()
	outputs, stderr, err := kernel(t, cell, session, 0)
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr)
	}
	return outputs
}

func TestOutputsOfANotebook(t *testing.T) {
	got := run(t, "all", t.TempDir())
	if len(got) != 4 {
		t.Fatalf("%d outputs", len(got))
	}
	if d := got[0].Data; d[protocol.MIMETextHTML] != "<b>bold</b>" || d[protocol.MIMETextPlain] != "bold" {
		t.Errorf("HTML: %v", d)
	}
	if d := got[1].Data; d[protocol.MIMETextMarkdown] != "*text*" || d[protocol.MIMETextPlain] != "*text*" {
		t.Errorf("Markdown: %v", d)
	}
	table := got[2].Data[protocol.MIMETextHTML].(string)
	for _, want := range []string{`data-show="table:scores"`, `<td align="left">a&lt;b</td><td align="right">0.25</td>`} {
		if !strings.Contains(table, want) {
			t.Errorf("table lacks %s:\n%s", want, table)
		}
	}
	if plain := got[2].Data[protocol.MIMETextPlain]; plain != "scores\npolicy  score\na<b      0.25\nc         0.5\n" {
		t.Errorf("table as text: %q", plain)
	}
	html, png := got[3].Data[protocol.MIMETextHTML].(string), got[3].Data[protocol.MIMEImagePNG].([]byte)
	if !strings.Contains(html, `data-show="chart:frontier"`) || !bytes.HasPrefix(png, []byte("\x89PNG")) || !strings.Contains(got[3].Data[protocol.MIMETextPlain].(string), "$0.00001") {
		t.Errorf("chart: %.200s… and %d bytes of PNG", html, len(png))
	}
	if w := got[3].Metadata["image/png"].(map[string]int)["width"]; w != chart.Width {
		t.Errorf("the image is shown %d wide", w)
	}
}

// The first chart of a session brings the library, and that chart again when its cell is run anew.
func TestLibraryOnceANotebook(t *testing.T) {
	library := string(chart.Library())
	session := t.TempDir()
	for i, c := range []struct {
		cell string
		want []bool
	}{
		{"frontier", []bool{true}},
		{"second", []bool{false}},
		{"frontier", []bool{true}}, // its first output is gone
		{"second", []bool{false}},
		{"twice", []bool{true, false}}, // in one cell
	} {
		var got []bool
		for _, out := range run(t, c.cell, session) {
			got = append(got, strings.Contains(out.Data[protocol.MIMETextHTML].(string), library))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("run %d, cell %s: library in %v, want %v", i, c.cell, got, c.want)
		}
	}
	if out := run(t, "second", t.TempDir()); !strings.Contains(out[0].Data[protocol.MIMETextHTML].(string), library) {
		t.Error("the first chart of a restarted kernel brings no library")
	}
}

// A program that ends right after its last call loses nothing, however slow the kernel reads.
func TestNoOutputIsLost(t *testing.T) {
	outputs, stderr, err := kernel(t, "many", t.TempDir(), 2*time.Millisecond)
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr)
	}
	seen := map[any]bool{}
	for _, out := range outputs {
		seen[out.Data[protocol.MIMETextPlain]] = true
	}
	if len(outputs) != 200 || len(seen) != 200 {
		t.Errorf("%d outputs, %d different ones, want 200", len(outputs), len(seen))
	}
}

// A kernel that confirms nothing is an error, not a program that hangs.
func TestSilentKernel(t *testing.T) {
	if _, stderr, err := kernel(t, "unheard", t.TempDir(), 0); err == nil || !strings.Contains(stderr, "the kernel has not confirmed the output within 300ms") {
		t.Errorf("%v: %s", err, stderr)
	}
}

func TestProgressInACell(t *testing.T) {
	outputs := run(t, "progress", t.TempDir())
	if n := len(outputs); n < 3 || n > 30 {
		t.Errorf("%d updates", n)
	}
	for _, out := range outputs {
		if out.DisplayID == "" || out.DisplayID != outputs[0].DisplayID {
			t.Fatalf("an update with id %q after %q", out.DisplayID, outputs[0].DisplayID)
		}
	}
	last := outputs[len(outputs)-1].Data[protocol.MIMETextHTML].(string)
	if !strings.Contains(last, `<progress value="100" max="100"></progress> 100 of 100 answers, $0.01 &lt; in 0:0`) {
		t.Errorf("ends as %s", last)
	}

	outputs = run(t, "cancelled", t.TempDir())
	last = outputs[len(outputs)-1].Data[protocol.MIMETextPlain].(string)
	if !regexp.MustCompile(`^stopped at 3 of 9 answers after 0:0\d: interrupted$`).MatchString(last) {
		t.Errorf("a cancelled bar ends as %q", last)
	}
}

func TestNamesAreChecked(t *testing.T) {
	outputs, stderr, err := kernel(t, "names", t.TempDir(), 0)
	if err == nil || len(outputs) > 0 {
		t.Errorf("%d outputs under names that are none", len(outputs))
	}
	if want := "show the chart \"a\\\"b\": a name has letters, digits, \"-\" and \"_\" only\nshow the table \"\": a name"; !strings.Contains(stderr, want) {
		t.Errorf("%s\nlacks\n%s", stderr, want)
	}
}

// Outside a notebook the same calls write text.
func TestOutputsOfATerminal(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), cellEnv+"=all")
	got, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	want := "bold\n*text*\nscores\npolicy  score\na<b      0.25\nc         0.5\nfirst\npolicy  dollars per question     F1\nlow                 $0.00001  0.250\n"
	if string(got) != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

func TestProgressInPlainLines(t *testing.T) {
	var b bytes.Buffer
	bar := ProgressTo(&b, "answers")
	for i := range 9 {
		bar.Set(i, 9, "$0")
	}
	bar.End(errors.New("no more money"))
	bar.End(nil)
	if got, want := b.String(), "0 of 9 answers, $0\nstopped at 8 of 9 answers, $0: no more money\n"; got != want {
		t.Errorf("printed %q, want %q", got, want)
	}
}
