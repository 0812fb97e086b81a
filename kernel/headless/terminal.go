package headless

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/budgetmem/budgetmem/kernel/notebook"
)

// Terminal shows the progress of a run: the cell's number and the total, the cell's output, and how long it took.
type Terminal struct {
	w io.Writer
	// live terminals show the seconds while a cell runs.
	live bool

	mu     sync.Mutex
	place  string // of the running cell
	title  string // its first line
	begin  time.Time
	ticker bool // the last line shows the seconds and will be overwritten
	within bool // the last line is unfinished text
	stop   chan struct{}
}

// NewTerminal returns a Terminal that writes to w. live is for screens: it shows the seconds while a cell runs.
func NewTerminal(w io.Writer, live bool) *Terminal { return &Terminal{w: w, live: live} }

// Start begins a cell.
func (t *Terminal) Start(number, of int, source string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.place, t.title, t.begin = fmt.Sprintf("[%d/%d]", number, of), title(source), time.Now()
	if !t.live {
		fmt.Fprintf(t.w, "%s %s\n", t.place, t.title)
		return
	}
	t.tick()
	stop := make(chan struct{})
	t.stop = stop
	go func() {
		second := time.NewTicker(time.Second)
		defer second.Stop()
		for {
			select {
			case <-stop:
				return
			case <-second.C:
				t.mu.Lock()
				select {
				case <-stop: // another cell may be running
				default:
					t.tick()
				}
				t.mu.Unlock()
			}
		}
	}()
}

// tick shows the seconds, unless a line of text is under way.
func (t *Terminal) tick() {
	if !t.within {
		fmt.Fprintf(t.w, "\r\x1b[K%s %.0f s  %s", t.place, time.Since(t.begin).Seconds(), t.title)
		t.ticker = true
	}
}

// Output shows the text of an output.
func (t *Terminal) Output(o notebook.Output) {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := textOf(o)
	if text == "" {
		return
	}
	t.clear()
	io.WriteString(t.w, text)
	t.within = !strings.HasSuffix(text, "\n")
}

// clear removes the seconds.
func (t *Terminal) clear() {
	if t.ticker {
		io.WriteString(t.w, "\r\x1b[K")
		t.ticker = false
	}
}

// End ends a cell.
func (t *Terminal) End(took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stop != nil {
		close(t.stop)
		t.stop = nil
	}
	t.clear()
	if t.within {
		fmt.Fprintln(t.w)
		t.within = false
	}
	fmt.Fprintf(t.w, "%s %.1f s", t.place, took.Seconds())
	if t.live {
		fmt.Fprintf(t.w, "  %s", t.title)
	}
	fmt.Fprintln(t.w)
}

// title returns the first line of a cell that says something, cut to fit a terminal.
func title(source string) string {
	for line := range strings.Lines(source) {
		line = strings.TrimSpace(line)
		if line == "" || line == "%%" {
			continue
		}
		if r := []rune(line); len(r) > 60 {
			line = string(r[:60]) + "…"
		}
		return line
	}
	return ""
}

// textOf returns what a terminal can show of an output: a stream's text, an error's traceback, the plain form of what is
// displayed, or else the names of the forms that it has.
func textOf(o notebook.Output) string {
	switch o.Type() {
	case notebook.Stream:
		_, text := o.Stream()
		return text
	case notebook.Error:
		_, _, traceback := o.Error()
		return strings.Join(traceback, "\n") + "\n"
	}
	text, ok := o.MIME("text/plain")
	if !ok {
		text = "[" + strings.Join(o.Forms(), ", ") + "]"
	}
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return text
}

// Plain writes the cells' output as a program would: streams to stdout or stderr, and displays as text.
type Plain struct{ Out, Err io.Writer }

// Start does nothing.
func (p Plain) Start(int, int, string) {}

// Output writes an output.
func (p Plain) Output(o notebook.Output) {
	w := p.Out
	if name, _ := o.Stream(); name == "stderr" || o.Type() == notebook.Error {
		w = p.Err
	}
	io.WriteString(w, textOf(o))
}

// End does nothing.
func (p Plain) End(time.Duration) {}
