package headless

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/budgetmem/budgetmem/kernel/notebook"
)

// CellError says that a cell failed.
type CellError struct {
	// Cell is the number of the cell, from 1, text cells counted.
	Cell int
	// In and Line are the number of the cell, mostly the same, and the line in it, from 1, that the error comes from. 0 if
	// that is not known.
	In, Line int
	// Script is that line in the script that the notebook was read from; 0 if there was none.
	Script int
	err    error
}

func (e *CellError) Error() string {
	place := fmt.Sprintf("cell %d", e.Cell)
	switch {
	case e.Script > 0:
		place = fmt.Sprintf("line %d (cell %d)", e.Script, e.Cell)
	case e.Line > 0 && e.In != e.Cell:
		place += fmt.Sprintf(", at line %d of cell %d", e.Line, e.In)
	case e.Line > 0:
		place += fmt.Sprintf(", line %d", e.Line)
	}
	return place + ": " + e.err.Error()
}

// Unwrap returns the error without the place.
func (e *CellError) Unwrap() error { return e.err }

// position is a line of a cell: an index and a line from 1, which is 0 if there is none.
type position struct{ cell, line int }

func newCellError(nb *notebook.Notebook, cell int, at position, err error) *CellError {
	e := &CellError{Cell: cell + 1, err: err}
	if at.line > 0 {
		e.In, e.Line = at.cell+1, at.line
		if first := nb.Cells[at.cell].Line; first > 0 {
			e.Script = first + at.line - 1
		}
	}
	return e
}

var (
	// verdict matches a complete message on stderr with which GoNB reports that the program of a cell failed, or a command that it
	// does not know; it counts such a cell as successful.
	verdict = regexp.MustCompile(`^(?:\^C\n)?(exit status \d+|signal: .*|"%.*" unknown or not implemented yet\.)\n?$`)
	// panicked is the beginning of Go's message about a panic or a fatal error.
	panicked = regexp.MustCompile(`(?m)^(?:panic|fatal error): .*`)
	frame    = regexp.MustCompile(`(\S*/gonb_\w+/main(?:_test)?\.go):(\d+)`)
	// compiled is a line of GoNB's traceback of a compile error: the number of the execution, and the line from 1.
	compiled = regexp.MustCompile(`^Cell\[(\d+)\]: Line (\d+)\n`)
	ansi     = regexp.MustCompile("\x1b\\[[0-9;]*m")
)

// judge returns what an output says about the failure of its cell's program, "" if nothing.
func judge(o notebook.Output) string {
	if name, text := o.Stream(); name == "stderr" {
		if found := verdict.FindStringSubmatch(text); found != nil {
			return found[1]
		}
	}
	return ""
}

// failure looks into the outputs of the cell that was run last, and returns nil if it did not fail. ran are the indices of
// the cells in the order of execution, status is what judge found.
func failure(nb *notebook.Notebook, ran []int, status string) *CellError {
	last := ran[len(ran)-1]
	var stderr strings.Builder
	for _, o := range nb.Cells[last].Outputs {
		if o.Type() == notebook.Error {
			at, text := compileError(nb, o)
			return newCellError(nb, last, at, errors.New(text))
		}
		if name, text := o.Stream(); name == "stderr" {
			stderr.WriteString(text)
		}
	}
	if status == "" {
		return nil
	}
	written, _, _ := strings.Cut(ansi.ReplaceAllString(stderr.String(), ""), status)
	if at := panicked.FindStringIndex(written); at != nil {
		return newCellError(nb, last, locate(nb, ran, written[at[0]:]), errors.New(written[at[0]:at[1]]))
	}
	if written = strings.TrimSpace(written); written != "" {
		status = written[strings.LastIndexByte(written, '\n')+1:] + " (" + status + ")"
	}
	return newCellError(nb, last, position{}, errors.New(status))
}

// compileError returns the place and text of the first compile error in an output, or else of any error.
func compileError(nb *notebook.Notebook, o notebook.Output) (position, string) {
	name, message, traceback := o.Error()
	for _, entry := range traceback {
		entry = ansi.ReplaceAllString(entry, "")
		found := compiled.FindStringSubmatch(entry)
		if found == nil {
			continue
		}
		count, _ := strconv.Atoi(found[1]) // digits by their form
		line, _ := strconv.Atoi(found[2])
		cell := slices.IndexFunc(nb.Cells, func(c notebook.Cell) bool { return c.Kind == notebook.Code && c.Count == count })
		if cell >= 0 {
			return position{cell, line}, entry[strings.LastIndexByte(entry, '\n')+1:]
		}
	}
	for line := range strings.Lines(ansi.ReplaceAllString(message, "")) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "# ") {
			return position{}, line
		}
	}
	return position{}, name
}

// locate finds the line of a cell that a trace points to. GoNB writes main.go from the cells that ran so far, at the path in
// the trace. Among the cells' lines that equal the line in main.go, locate takes the one with the longest stretch of equal
// lines around it, and of several the one that ran last.
func locate(nb *notebook.Notebook, ran []int, trace string) position {
	for _, found := range frame.FindAllStringSubmatch(trace, -1) {
		data, err := os.ReadFile(found[1])
		number, _ := strconv.Atoi(found[2]) // digits by their form
		program := strings.Split(string(data), "\n")
		if err != nil || number < 1 || number > len(program) {
			continue
		}
		var best position
		longest := 0
		for _, cell := range slices.Backward(ran) {
			lines := strings.Split(nb.Cells[cell].Source, "\n")
			for line := range lines {
				if n := stretch(program, number-1, lines, line); n > longest {
					longest, best = n, position{cell, line + 1}
				}
			}
		}
		if longest > 0 {
			return best
		}
	}
	return position{}
}

// stretch counts the equal lines around a[i] and b[j], these two included; 0 if they differ.
func stretch(a []string, i int, b []string, j int) int {
	if strings.TrimSpace(a[i]) != strings.TrimSpace(b[j]) {
		return 0
	}
	n := 1
	for k := 1; i-k >= 0 && j-k >= 0 && strings.TrimSpace(a[i-k]) == strings.TrimSpace(b[j-k]); k++ {
		n++
	}
	for k := 1; i+k < len(a) && j+k < len(b) && strings.TrimSpace(a[i+k]) == strings.TrimSpace(b[j+k]); k++ {
		n++
	}
	return n
}
