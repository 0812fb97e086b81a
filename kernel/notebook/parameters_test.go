package notebook

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

const declarations = `// What to run.
%env A=b
import "time"

var questions = 12
var lambda = 0.5 // weight
const model = "small"
var (
	verbose       = true
	limit float64 = 3
	seed  int8    = -1
	raw           = ` + "`as is`" + `
	wait          = 5 * time.Second
	a, b          = 1, 2
	pair, other   = f()
)

func f() (int, int) { return 1, 2 }`

func declaring(source string) *Notebook {
	return New(Cell{Kind: Markdown, Source: "# Title", Metadata: Object{"tags": encode([]string{"parameters"})}},
		Cell{Kind: Code, Source: source, Metadata: Object{"tags": encode([]string{"parameters"})}}, Cell{Kind: Code, Source: "%%\nuse()"})
}

func TestParameters(t *testing.T) {
	found, err := declaring(declarations).Parameters()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range found {
		got = append(got, fmt.Sprintf("%s %s %s", p.Name, p.Type, p.Default))
	}
	want := []string{"questions int 12", "lambda float64 0.5", `model string "small"`, "verbose bool true", "limit float64 3", "seed int8 -1", "raw string `as is`", "a int 1", "b int 2"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if found, err := New(Cell{Kind: Code, Source: "var a = 1"}).Parameters(); err != nil || len(found) > 0 {
		t.Errorf("without a tag: %v, %v", found, err)
	}
	if _, err := declaring("%%\nvar a = 1\na++").Parameters(); err == nil || !strings.Contains(err.Error(), "cell 2, which declares parameters: 3:") {
		t.Errorf("statements: %v", err)
	}
}

func TestWithParameters(t *testing.T) {
	nb := declaring(declarations)
	for _, c := range []struct{ values, want string }{
		{"questions=4", "var questions = 4"},
		{"questions=-07", "var questions = -7"},
		{"lambda=1", "var lambda = 1.0"},
		{"lambda=1e-9", "var lambda = 1e-09"},
		{"limit=2", "var limit float64 = 2.0"},
		{"model=a \"b\"=c", `const model = "a \"b\"=c"`},
		{"model=", `const model = ""`},
		{"verbose=false", "var verbose = false"},
		{"raw=x", `var raw = "x"`},
		{"b=3", "var b = 3"},
		{"seed=127|questions=1|questions=2", "var questions = 2\nvar seed int8 = 127"},
	} {
		out, err := nb.WithParameters(strings.Split(c.values, "|"))
		if err != nil {
			t.Errorf("%s: %v", c.values, err)
			continue
		}
		if got := out.Cells[2]; got.Source != "// Parameters\n"+c.want || !slices.Equal(got.Tags(), []string{"injected-parameters"}) || len(out.Cells) != 4 {
			t.Errorf("%s: %+v, want %s", c.values, got, c.want)
		}
		again, err := out.WithParameters([]string{"questions=99"})
		if err != nil || len(again.Cells) != 4 || again.Cells[2].Source != "// Parameters\nvar questions = 99" {
			t.Errorf("injected anew: %v, %+v", err, again)
		}
	}
	if len(nb.Cells) != 3 {
		t.Errorf("the notebook itself changed: %+v", nb.Cells)
	}
	for value, want := range map[string]string{
		"quesitons=4":    `no parameter "quesitons"; did you mean "questions"? There are: questions, lambda`,
		"wait=3":         `no parameter "wait"`,
		"questions":      `"questions" is not of the form name=value`,
		"questions=4.5":  `parameter questions is of type int: "4.5" is no such number`,
		"questions=":     `"" is no such number`,
		"questions=0x10": "no such number",
		"seed=128":       `"128" is out of its range`,
		"lambda=NaN":     "no such number",
		"lambda=1e999":   "out of its range",
		"verbose=maybe":  `"maybe" is neither true nor false`,
	} {
		if _, err := nb.WithParameters([]string{value}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n  error %v\n  want  %s", value, err, want)
		}
	}
	if _, err := New().WithParameters([]string{"a=1"}); err == nil || !strings.Contains(err.Error(), "no cell tagged parameters") {
		t.Errorf("without declarations: %v", err)
	}
}
