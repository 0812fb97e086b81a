// Package display shows results: in the cell of a notebook when the GoNB kernel runs the program, else in the terminal, by
// the same calls.
//
//	err := display.Table("scores", chart.Table{Rows: rows})
//	err = display.Chart("frontier", chart.Frontier(…))
//	bar := display.Progress(ctx, "answers")
//
// In a notebook each call returns once the kernel has passed its output on, so none is lost when the program ends right
// after. Every output carries plain text as well. Tables and charts are marked with their names, data-show="table:scores" and
// data-show="chart:frontier", by which a notebook's run is checked for what it must show.
//
// # How a chart is kept in a notebook
//
// A chart is one output: HTML that holds the PNG and, to draw in its place, a script; and the PNG for front ends that show
// no HTML. JupyterLab runs the script in notebooks it trusts. In others, on GitHub, and in exported pages without scripts
// the PNG is what remains of the HTML.
//
// The scripts need the ECharts library, half a megabyte, once a page. Every cell is a program of its own, so the programs of
// a kernel's session agree through a file in the session's folder: the first chart shown carries the library, and the file
// says which chart that was. When the same chart is shown again by a later program, its cell was run again and the output
// that held the library is gone: the chart carries it again. A saved or exported notebook thus holds the library as long as it
// holds that output, in whatever order the cells were run, and needs no network. If the output is deleted while the
// kernel lives, the open page continues to draw; a page opened later shows the PNGs until a kernel is restarted and any
// chart's cell is run.
package display

import (
	"fmt"
	"html"
	"os"
	"regexp"
	"strings"

	"github.com/janpfeifer/gonb/gonbui"
	"github.com/janpfeifer/gonb/gonbui/protocol"

	"github.com/budgetmem/budgetmem/kernel/chart"
)

// HTML shows an HTML fragment. plain is what a terminal shows instead.
func HTML(fragment, plain string) error {
	return show("HTML", content{protocol.MIMETextHTML: fragment, protocol.MIMETextPlain: plain})
}

// Markdown shows a text in Markdown, which a terminal shows as it is.
func Markdown(text string) error {
	return show("Markdown", content{protocol.MIMETextMarkdown: text, protocol.MIMETextPlain: text})
}

// Table shows a table under a name that is unique in the notebook: letters, digits, "-" and "_". Columns of numbers are
// aligned to the right.
func Table(name string, t chart.Table) error {
	what := fmt.Sprintf("the table %q", name)
	if err := checkName(what, name); err != nil {
		return err
	}
	body, err := t.HTML()
	if err != nil {
		return fmt.Errorf("show %s: %w", what, err)
	}
	return show(what, content{protocol.MIMETextHTML: marked("table", name, string(body)), protocol.MIMETextPlain: heading(t.Title) + t.Text()})
}

// Chart shows a chart under a name that is unique in the notebook: letters, digits, "-" and "_". A terminal shows its data.
func Chart(name string, c chart.Chart) error {
	what := fmt.Sprintf("the chart %q", name)
	if err := checkName(what, name); err != nil {
		return err
	}
	plain := heading(c.Title) + c.Table().Text()
	if !gonbui.IsNotebook {
		if _, err := c.PNG(); err != nil { // bad data is an error everywhere
			return fmt.Errorf("show %s: %w", what, err)
		}
		return show(what, content{protocol.MIMETextPlain: plain})
	}
	fragment, err := c.Fragment()
	if err != nil {
		return fmt.Errorf("show %s: %w", what, err)
	}
	png, err := c.PNG()
	if err != nil {
		return fmt.Errorf("show %s: %w", what, err)
	}
	s := session{dir: os.Getenv(protocol.GONB_TMP_DIR_ENV), pid: os.Getpid()}
	brings := s.bringsLibrary(name)
	if brings {
		fragment = chart.Library() + fragment
	}
	if err := show(what, content{protocol.MIMETextHTML: marked("chart", name, string(fragment)), protocol.MIMEImagePNG: png, protocol.MIMETextPlain: plain}); err != nil {
		return err
	}
	if brings {
		return s.broughtLibrary(name)
	}
	return nil
}

// content is one output in several forms; a front end shows the one it prefers.
type content = map[protocol.MIMEType]any

// show hands an output to the kernel or, without one, writes it for a terminal.
func show(what string, c content) error {
	var err error
	if gonbui.IsNotebook {
		data := &protocol.DisplayData{Data: c}
		if c[protocol.MIMEImagePNG] != nil { // it has two pixels for each of the page
			data.Metadata = map[string]any{string(protocol.MIMEImagePNG): map[string]int{"width": chart.Width}}
		}
		err = send(data)
	} else {
		_, err = fmt.Fprintln(os.Stdout, strings.TrimRight(c[protocol.MIMETextPlain].(string), "\n"))
	}
	if err != nil {
		return fmt.Errorf("show %s: %w", what, err)
	}
	return nil
}

// marked wraps a fragment in an element that says what it shows.
func marked(kind, name, fragment string) string {
	return fmt.Sprintf("<div data-show=\"%s:%s\">%s</div>", kind, html.EscapeString(name), fragment)
}

func heading(title string) string {
	if title == "" {
		return ""
	}
	return title + "\n"
}

var validName = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

func checkName(what, name string) error {
	if !validName.MatchString(name) {
		return fmt.Errorf("show %s: a name has letters, digits, \"-\" and \"_\" only", what)
	}
	return nil
}
