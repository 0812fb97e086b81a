// Package chart draws the project's charts, and sets its tables, for reports and for notebooks. Every chart is drawn twice
// from the same data: by ECharts, on a page that runs scripts, and as a PNG, for all others. It needs no network: the
// ECharts library travels inside the binary. It shows numbers and computes none.
package chart

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"slices"
	"strings"
	"sync"
)

// Chart is a drawing with a title, made by Frontier, Lines, Bars, Stacked, Multiples, Ablation or Timeline.
type Chart struct {
	Title  string
	figure figure
	table  Table
	png    func() ([]byte, error)
	err    error // what is wrong with the data
}

func newChart(title string, p figure, t Table) Chart {
	t.Title = title
	c := Chart{Title: title, figure: p, table: t, err: p.check(title)}
	c.png = sync.OnceValues(func() ([]byte, error) { return p.image(title) })
	return c
}

// check refuses what cannot be drawn.
func (p figure) check(title string) error {
	all := p.series
	for _, part := range p.panels {
		all = slices.Concat(all, part.series)
	}
	for _, s := range all {
		var values []float64
		if s.across != nil {
			values = append(values, *s.across)
		}
		for _, m := range s.marks {
			values = append(values, m.x, m.y, m.base, m.low, m.high)
		}
		if len(finite(values)) < len(values) {
			return fmt.Errorf("draw %q: %q has a value that is not finite", title, s.name)
		}
	}
	return nil
}

// PNG returns the chart as an image, 1600 pixels wide.
func (c Chart) PNG() ([]byte, error) {
	if c.err != nil {
		return nil, c.err
	}
	if c.png == nil {
		return nil, errors.New("draw a chart that none of Frontier, Lines, Bars, Stacked, Multiples, Ablation and Timeline made")
	}
	return c.png()
}

// Table returns the chart's data in words and numbers: the values themselves, or for curves of many their ends.
func (c Chart) Table() Table { return c.table }

//go:embed draw.js
var drawJS string

// Fragment returns the chart for a page: a figure that holds the PNG, and a script that draws in its place once the page
// has the Library. Where no script runs, or one is taken away as by GitHub and by JupyterLab for notebooks that it does not
// trust, the PNG stays. So one of the two shows, never both.
func (c Chart) Fragment() (template.HTML, error) {
	png, err := c.PNG()
	if err != nil {
		return "", err
	}
	option, err := c.figure.echarts(c.Title)
	if err != nil {
		return "", fmt.Errorf("draw %q: %w", c.Title, err)
	}
	// The script finds its figure by what it draws: in a notebook nothing else is known to stay the same.
	id := fmt.Sprintf("%x", sha256.Sum256(option))[:16]
	image := fmt.Sprintf(`<img alt="%s" width="%d" style="max-width:100%%;height:auto" src="data:image/png;base64,%s">`,
		template.HTMLEscapeString(c.Title), Width, base64.StdEncoding.EncodeToString(png))
	// JSON as Go writes it has no "<", so nothing in it can end the script.
	script := fmt.Sprintf("(%s)(%q, %d, %s)", strings.TrimSpace(drawJS), id, c.figure.size(), option)
	return template.HTML(fmt.Sprintf("<figure data-chart=\"%s\" style=\"margin:0\">\n%s\n<div></div>\n</figure>\n<script>%s</script>", id, image, script)), nil
}

// echarts marshals the option that ECharts draws. Keys are sorted, so equal charts are equal bytes.
func (p figure) echarts(title string) ([]byte, error) {
	option, err := p.option(title)
	if err != nil {
		return nil, err
	}
	return json.Marshal(option)
}

//go:embed assets/echarts-5.6.0.min.js.gz
var libraryGz []byte

//go:embed library.js
var libraryJS string

// Library returns the script element that puts ECharts on the page as window.echarts, once however often it occurs, and
// tells the charts that wait for it. It is half a megabyte, compressed, and the browser unpacks it.
func Library() template.HTML {
	return template.HTML(fmt.Sprintf("<script>(%s)(%q)</script>", strings.TrimSpace(libraryJS), base64.StdEncoding.EncodeToString(libraryGz)))
}
