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
