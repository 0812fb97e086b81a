// Package headless runs notebooks without a browser, in their Jupyter kernel: cell by cell, reporting each output as it comes,
// until one fails. It exports the result as HTML.
package headless

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/budgetmem/budgetmem/kernel/notebook"
)

// Options says how to run a notebook. Only Watch is required.
type Options struct {
	// Kernel is the name of the kernel, by default the one that the notebook asks for.
	Kernel string
	// Dir is the folder that the kernel works in, by default the working folder.
	Dir string
	// Timeout is how long a cell may take, compiling included; 0 is without limit.
	Timeout time.Duration
	// Watch receives the progress.
	Watch Watcher
	// Save, if not nil, is called after every cell that ran. Its error ends the run.
	Save func(*notebook.Notebook) error
}

// Watcher receives the progress of a run. Its methods are called one at a time.
type Watcher interface {
	// Start reports that a cell starts; number counts all cells from 1, text included.
	Start(number, of int, source string)
	// Output reports an output of that cell.
	Output(notebook.Output)
	// End reports that the cell has ended, successfully or not.
	End(took time.Duration)
}

// stopping is how long a cell may run after an interrupt. GoNB kills it after 5 s.
const stopping = 8 * time.Second

// Run runs the code cells of a notebook one after the other, puts their outputs into it in place of those that are there, and
// then checks that everything is there that the notebook declares to show. A cell that fails, unless it is tagged
// raises-exception, gives a *CellError. A cell that ctx or the timeout ends is interrupted first, so that it may end well.
// Whatever happens, the kernel and all that it started have ended when Run returns.
func Run(ctx context.Context, nb *notebook.Notebook, o Options) error {
	r, err := begin(ctx, nb, o)
	if err != nil {
		return err
	}
	defer r.session.close()
	for i := range nb.Cells {
		if err := r.cell(ctx, i); err != nil {
			return err
		}
	}
	if missing := nb.Missing(); len(missing) > 0 {
		return fmt.Errorf("all cells ran, but no output shows what the notebook declares: %s", strings.Join(missing, ", "))
	}
	return nil
}

// run is a notebook that is being run.
type run struct {
	nb      *notebook.Notebook
	options Options
	session *session
	ran     []int // indices of cells in the order of execution
}

// begin starts the kernel and clears the notebook.
func begin(ctx context.Context, nb *notebook.Notebook, o Options) (*run, error) {
	kernel := cmp.Or(o.Kernel, nb.KernelName())
	s, err := open(kernel, cmp.Or(o.Dir, "."))
	if err != nil {
		return nil, err
	}
	if err := s.await(ctx, kernel); err != nil {
		s.close()
		return nil, err
	}
	nb.ClearOutputs()
	return &run{nb: nb, options: o, session: s}, nil
}

// cell runs one cell, if it holds code.
func (r *run) cell(ctx context.Context, i int) error {
	c := &r.nb.Cells[i]
	if c.Kind != notebook.Code || strings.TrimSpace(c.Source) == "" {
		return nil
	}
	r.ran = append(r.ran, i)
	r.options.Watch.Start(i+1, len(r.nb.Cells), c.Source)
	start := time.Now()
	e, status, fault := r.session.execute(ctx, c.Source, r.options)
	r.options.Watch.End(time.Since(start))
	c.Count = e.Count
	for n, outputs := range e.Outputs {
		if n >= 0 && n < len(r.ran) {
			r.nb.Cells[r.ran[n]].Outputs = outputs
		}
	}
	failed := failure(r.nb, r.ran, status) // before main.go is written again
	if r.options.Save != nil {
		if err := r.options.Save(r.nb); err != nil {
			return err
		}
	}
	switch {
	case fault != nil:
		return newCellError(r.nb, i, position{}, fault)
	case failed != nil && !slices.Contains(c.Tags(), "raises-exception"):
		return failed
	}
	return nil
}

// await waits until the kernel is ready.
func (s *session) await(ctx context.Context, kernel string) error {
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("start the kernel %s: %w", kernel, ctx.Err())
		case e, ok := <-s.events:
			switch {
			case !ok || e.Event == failed:
				return fmt.Errorf("start the kernel %s: %w", kernel, s.broken(e))
			case e.Event == ready:
				return nil
			}
		}
	}
}

// broken is the error of a driver that failed, with an event or without.
func (s *session) broken(e event) error {
	if strings.HasPrefix(e.Error, "Jupyter knows no kernel") {
		return errors.New(e.Error + "; `make setup` installs the project's")
	}
	text := e.Error
	if text == "" {
		text = "its driver ended"
	}
	if log := s.log.Lines(3); log != "" {
		text += ": " + log
	}
	return errors.New(text)
}

// execute runs one cell. The event holds its outputs, also with an error, which says why it was not run to its end. status
// is what judge finds in the outputs.
func (s *session) execute(ctx context.Context, source string, o Options) (e event, status string, why error) {
	if err := s.say(map[string]any{"execute": source}); err != nil {
		return e, "", err
	}
	var limit <-chan time.Time // of the cell, or of its end after an interrupt
	if o.Timeout > 0 {
		timer := time.NewTimer(o.Timeout)
		defer timer.Stop()
		limit = timer.C
	}
	interrupted := ctx.Done()
	for {
		select {
		case e, ok := <-s.events:
			switch {
			case !ok || e.Event == failed:
				return e, status, cmp.Or(why, s.broken(e))
			case e.Event == output:
				status = cmp.Or(status, judge(e.Output))
				o.Watch.Output(e.Output)
			case e.Event == done:
				return e, status, why
			}
			continue
		case <-interrupted:
			why = fmt.Errorf("interrupted: %w", ctx.Err())
		case <-limit:
			if why != nil { // it does not react: end the kernel
				for _, e = range s.close() {
					if e.Event == failed {
						break
					}
				}
				return e, status, why
			}
			why = fmt.Errorf("not done within %v", o.Timeout)
		}
		interrupted, limit = nil, time.After(stopping)
		if err := s.say(map[string]any{"interrupt": true}); err != nil {
			return e, status, errors.Join(why, err)
		}
	}
}
