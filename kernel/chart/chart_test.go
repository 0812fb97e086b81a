package chart

import (
	"strings"
	"testing"
)

func TestLibraryIsWholeAndQuiet(t *testing.T) {
	lib, err := Library()
	if err != nil {
		t.Fatal(err)
	}
	if len(lib) < 1_000_000 || !strings.Contains(string(lib), `version="5.6.0"`) {
		t.Errorf("library of %d bytes without its version", len(lib))
	}
	if n := strings.Count(string(lib), "</script"); n != 1 {
		t.Errorf("the library closes its script element %d times, want once", n)
	}
}

func TestFragmentKeepsNamesInside(t *testing.T) {
	evil := `</script><script>alert(1)</script>`
	v := 0.5
	for name, html := range map[string]string{
		"frontier": string(Fragment(Frontier("f", "F1", []Point{{Name: evil, Dollars: 0.1, Score: 0.5, Low: 0.4, High: 0.6}, {Name: "ceiling", Score: 0.6, Ceiling: true}}))),
		"lines":    string(Fragment(Lines("l", "epoch", "F1", []Line{{Name: evil, X: []float64{0, 1}, Y: []float64{0.5, 1}}, {Name: "oracle", X: []float64{0}, Y: []float64{1}, Ceiling: true}}))),
		"stacked":  string(Fragment(Stacked("s", "share", []string{evil, "two"}, []Series{{Name: evil, Values: []*float64{&v, nil}}}))),
		"bars":     string(Fragment(Bars("b", "F1", []string{evil, "two"}, []Series{{Name: evil, Values: []*float64{&v, nil}}}))),
	} {
		if strings.Count(html, "<script") != 1+strings.Count(html, "<script>alert") || strings.Count(html, "</script") != 1 {
			t.Errorf("%s: a name ended the script element:\n%s", name, html)
		}
		if strings.Contains(html, "http") {
			t.Errorf("%s: the chart names an address", name)
		}
		if !strings.Contains(html, "0.5") {
			t.Errorf("%s: the value is missing", name)
		}
	}
}

// The front runs through its points in the order of their cost, and only through them.
func TestFrontierDrawsTheFront(t *testing.T) {
	points := []Point{{Name: "dear", Dollars: 3, Score: 0.75, Front: true}, {Name: "beaten", Dollars: 2, Score: 0.125}, {Name: "cheap", Dollars: 1, Score: 0.25, Front: true}}
	html := string(Fragment(Frontier("f", "F1", points)))
	_, front, found := strings.Cut(html, `"Pareto front"`)
	if !found {
		t.Fatalf("no front in %s", html)
	}
	front, _, _ = strings.Cut(front, `"lineStyle"`)
	cheap, dear := strings.Index(front, "[1,0.25]"), strings.Index(front, "[3,0.75]")
	if cheap < 0 || dear < cheap || strings.Contains(front, "0.125") {
		t.Errorf("the front is %s", front)
	}
	points[0].Front, points[2].Front = false, false
	if strings.Contains(string(Fragment(Frontier("f", "F1", points))), "Pareto") {
		t.Error("a front is drawn where no point is on one")
	}
}
