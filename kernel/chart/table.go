package chart

import (
	"html/template"
	"regexp"
	"strings"
	"unicode/utf8"
)

// Table is a heading over rows of cells, the first row the names of the columns.
type Table struct {
	Title string
	Rows  [][]string
}

// numeric matches a cell that holds nothing but numbers, such as "$0.0013", "[-0.01, 0.20]" or "12 %".
var numeric = regexp.MustCompile(`^[-+−$(\[]*[0-9][-+−0-9.,eE%*)\] ]*$`)

// rightAligned reports which columns hold numbers: those whose cells are all numbers or empty. The first
// column names the rows and is none.
func (t Table) rightAligned() []bool {
	var right, left []bool
	for i, row := range t.Rows {
		for c, cell := range row {
			if c == len(right) {
				right, left = append(right, false), append(left, false)
			}
			if i == 0 || c == 0 || cell == "" || cell == "-" {
				continue
			}
			is := numeric.MatchString(cell)
			right[c], left[c] = right[c] || is, left[c] || !is
		}
	}
	for c := range right {
		right[c] = right[c] && !left[c]
	}
	return right
}

// dense leaves out the columns that have a name and nothing else.
func (t Table) dense() Table {
	full := make([]bool, len(t.Rows[0]))
	for i, row := range t.Rows {
		for c, cell := range row {
			full[c] = full[c] || c == 0 || i > 0 && cell != ""
		}
	}
	out := Table{Title: t.Title}
	for _, row := range t.Rows {
		var cells []string
		for c, cell := range row {
			if full[c] {
				cells = append(cells, cell)
			}
		}
		out.Rows = append(out.Rows, cells)
	}
	return out
}

// Text writes the rows, without the heading, as aligned lines: numbers to the right, the rest to the left.
func (t Table) Text() string {
	right := t.rightAligned()
	widths := make([]int, len(right))
	for _, row := range t.Rows {
		for c, cell := range row {
			widths[c] = max(widths[c], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for _, row := range t.Rows {
		var line strings.Builder
		for c, cell := range row {
			pad := strings.Repeat(" ", widths[c]-utf8.RuneCountInString(cell))
			if c > 0 {
				line.WriteString("  ")
			}
			if right[c] {
				line.WriteString(pad + cell)
			} else {
				line.WriteString(cell + pad)
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return b.String()
}

var tableHTML = template.Must(template.New("table").Parse(`<table>
{{- with .Title}}<caption>{{.}}</caption>{{end}}
{{range $i, $row := .Rows}}<tr>{{range $c, $cell := $row}}
{{- if eq $i 0}}<th align="{{index $.Align $c}}">{{$cell}}</th>{{else}}<td align="{{index $.Align $c}}">{{$cell}}</td>{{end}}
{{- end}}</tr>
{{end}}</table>`))

// HTML writes the table as an element. Alignment is by attribute, which pages that take styles away leave.
func (t Table) HTML() (template.HTML, error) {
	align := make([]string, 0)
	for _, right := range t.rightAligned() {
		align = append(align, map[bool]string{true: "right", false: "left"}[right])
	}
	var b strings.Builder
	err := tableHTML.Execute(&b, struct {
		Table
		Align []string
	}{t, align})
	return template.HTML(b.String()), err
}
