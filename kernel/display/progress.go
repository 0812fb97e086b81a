package display

import (
	"context"
	"fmt"
	"html"
	"io"
	"os"
	"sync"
	"time"

	"github.com/janpfeifer/gonb/gonbui"
	"github.com/janpfeifer/gonb/gonbui/protocol"
	"github.com/mattn/go-isatty"
	"github.com/schollz/progressbar/v3"
)

// Bar shows the progress of some work. It is safe for concurrent use.
type Bar struct {
	mu    sync.Mutex
	view  view
	ended bool
	state state
	stop  func() bool // stops watching the context
}

// state is what a bar shows.
type state struct {
	what        string // what is counted, such as "answers"
	done, total int
	note        string
	start       time.Time
}

// view draws a bar. A failure to draw is no failure of the work.
type view interface {
	draw(s state)
	// end draws for the last time; err says why the work stopped early.
	end(s state, err error)
}

// Progress shows a bar that counts what, such as "answers": in the notebook's cell, where it is updated in place, else on
// standard error, as a bar on a terminal and as a line every ten seconds elsewhere. Cancelling ctx ends it.
func Progress(ctx context.Context, what string) *Bar {
	if !gonbui.IsNotebook {
		b := ProgressTo(os.Stderr, what)
		b.watch(ctx)
		return b
	}
	b := &Bar{view: &cell{id: gonbui.UniqueId()}, state: state{what: what, start: time.Now()}}
	b.watch(ctx)
	return b
}

// ProgressTo shows a bar on w, as a bar on a terminal and as a line every ten seconds elsewhere.
func ProgressTo(w io.Writer, what string) *Bar {
	b := &Bar{view: &lines{w: w}, state: state{what: what, start: time.Now()}}
	if f, ok := w.(*os.File); ok && isatty.IsTerminal(f.Fd()) {
		b.view = &terminal{w: w}
	}
	return b
}

func (b *Bar) watch(ctx context.Context) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stop = context.AfterFunc(ctx, func() { b.End(context.Cause(ctx)) })
}

// Set shows that done of total are done; total may grow, and is 0 while unknown. note is shown beside the numbers.
func (b *Bar) Set(done, total int, note string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended {
		return
	}
	b.state.done, b.state.total, b.state.note = done, total, note
	b.view.draw(b.state)
}

// End freezes the bar; err, if not nil, is shown as the reason why the work stopped early. Only the first call counts, and later
// calls of Set are ignored.
func (b *Bar) End(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended {
		return
	}
	b.ended = true
	if b.stop != nil {
		b.stop()
	}
	b.view.end(b.state, err)
}

// text describes the progress.
func (s state) text() string {
	t := fmt.Sprintf("%d %s", s.done, s.what)
	if s.total > 0 {
		t = fmt.Sprintf("%d of %d %s", s.done, s.total, s.what)
	}
	if s.note != "" {
		t += ", " + s.note
	}
	return t
}

// cell is a view in a notebook.
type cell struct {
	id   string
	last time.Time
}

func (c *cell) draw(s state) {
	if now := time.Now(); s.done == s.total || now.Sub(c.last) >= 200*time.Millisecond {
		c.last = now
		spent := now.Sub(s.start)
		text := s.text() + "; " + clock(spent)
		if s.done > 0 && s.done < s.total {
			text += ", about " + clock(spent*time.Duration(s.total-s.done)/time.Duration(s.done)) + " left"
		}
		c.send(s, text)
	}
}

func (c *cell) end(s state, err error) {
	text := s.text() + " in " + clock(time.Since(s.start))
	if err != nil {
		text = fmt.Sprintf("stopped at %s after %s: %v", s.text(), clock(time.Since(s.start)), err)
	}
	c.send(s, text)
}

func (c *cell) send(s state, text string) {
	bar := ""
	if s.total > 0 {
		bar = fmt.Sprintf(`<progress value="%d" max="%d"></progress> `, s.done, s.total)
	}
	_ = send(&protocol.DisplayData{DisplayID: c.id, Data: content{
		protocol.MIMETextHTML:  "<div>" + bar + html.EscapeString(text) + "</div>",
		protocol.MIMETextPlain: text,
	}})
}

// clock writes a duration as minutes and seconds.
func clock(d time.Duration) string {
	s := int(d.Round(time.Second) / time.Second)
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}

// terminal is a view that redraws its line.
type terminal struct {
	w   io.Writer
	bar *progressbar.ProgressBar
}

func (t *terminal) draw(s state) {
	if t.bar == nil {
		total := s.total
		if total == 0 {
			total = -1 // unknown, for the library
		}
		t.bar = progressbar.NewOptions(total, progressbar.OptionSetWriter(t.w), progressbar.OptionShowCount(),
			progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionSetPredictTime(true), progressbar.OptionFullWidth())
	}
	if s.total > 0 && t.bar.GetMax() != s.total {
		t.bar.ChangeMax(s.total)
	}
	t.bar.Describe(s.note)
	_ = t.bar.Set(s.done) // only draws
}

func (t *terminal) end(s state, err error) {
	if t.bar != nil {
		_ = t.bar.Exit() // only draws
		fmt.Fprintln(t.w)
	}
	if err != nil {
		fmt.Fprintf(t.w, "stopped at %s: %v\n", s.text(), err)
	}
}

// lines is a view for logs and pipes.
type lines struct {
	w    io.Writer
	last time.Time
}

func (l *lines) draw(s state) {
	if s.done == s.total || time.Since(l.last) >= 10*time.Second {
		l.last = time.Now()
		fmt.Fprintln(l.w, s.text())
	}
}

func (l *lines) end(s state, err error) {
	if err != nil {
		fmt.Fprintf(l.w, "stopped at %s: %v\n", s.text(), err)
	}
}
