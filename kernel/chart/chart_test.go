package chart

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"flag"
	"image"
	"image/color"
	"image/png"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// go test ./kernel/chart -run Golden -update writes the golden files anew.
var update = flag.Bool("update", false, "rewrite the golden files")

func TestGolden(t *testing.T) {
	for _, c := range gallery() {
		t.Run(c.Name, func(t *testing.T) {
			option, err := c.Chart.figure.echarts(c.Chart.Title)
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			if err := json.Indent(&got, option, "", " "); err != nil {
				t.Fatal(err)
			}
			compare(t, c.Name+".json", got.Bytes())
			compare(t, c.Name+".txt", []byte(c.Chart.Table().Title+"\n"+c.Chart.Table().Text()))
		})
	}
}

func compare(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs from what is drawn now; see the difference after go test ./kernel/chart -run Golden -update", path)
	}
}

func TestPNGShowsEverySeries(t *testing.T) {
	for _, c := range gallery() {
		t.Run(c.Name, func(t *testing.T) {
			data, err := c.Chart.PNG()
			if err != nil {
				t.Fatal(err)
			}
			img, err := png.Decode(bytes.NewReader(data))
			if err != nil {
				t.Fatal(err)
			}
			if size := img.Bounds().Size(); size != (image.Point{2 * Width, 2 * c.Chart.figure.size()}) {
				t.Errorf("%v pixels", size)
			}
			if len(data) > 60_000 {
				t.Errorf("%d bytes are many for a notebook", len(data))
			}
			count := map[color.RGBA]int{}
			for y := range img.Bounds().Dy() {
				for x := range img.Bounds().Dx() {
					count[color.RGBAModel.Convert(img.At(x, y)).(color.RGBA)]++
				}
			}
			if white, all := count[color.RGBA{255, 255, 255, 255}], img.Bounds().Dx()*img.Bounds().Dy(); white < all/5 || white > all*99/100 {
				t.Errorf("%d of %d pixels are white", white, all)
			}
			for _, s := range allSeries(c.Chart.figure) {
				h := parseHue(s.hue)
				if len(s.marks) > 0 && count[color.RGBA{h.R, h.G, h.B, 255}] < 10 {
					t.Errorf("nothing has the colour of %q", s.name)
				}
			}
		})
	}
}

func allSeries(p figure) []series {
	all := p.series
	for _, part := range p.panels {
		all = append(all, part.series...)
	}
	return all
}

func TestFragmentHoldsBothDrawings(t *testing.T) {
	embedded := regexp.MustCompile(`src="data:image/png;base64,([^"]+)"`)
	for _, c := range gallery() {
		a, err := c.Chart.Fragment()
		if err != nil {
			t.Fatal(err)
		}
		found := embedded.FindAllStringSubmatch(string(a), -1)
		if len(found) != 1 {
			t.Fatalf("%s: %d images", c.Name, len(found))
		}
		got, err := base64.StdEncoding.DecodeString(found[0][1])
		if want, _ := c.Chart.PNG(); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: the image is not the PNG (%v)", c.Name, err)
		}
		if strings.Contains(string(a), "http") {
			t.Errorf("%s: the chart names an address", c.Name)
		}
	}
	a, _ := gallery()[0].Chart.Fragment()
	b, _ := gallery()[0].Chart.Fragment()
	if a != b {
		t.Error("equal charts are not equal bytes")
	}
}

func TestLibraryIsWholeAndQuiet(t *testing.T) {
	lib := string(Library())
	packed := regexp.MustCompile(`[A-Za-z0-9+/=]{1000,}`).FindString(lib)
	data, err := base64.StdEncoding.DecodeString(packed)
	if err != nil {
		t.Fatal(err)
	}
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	js, err := io.ReadAll(r)
	if err != nil || len(js) < 1_000_000 || !strings.Contains(string(js), `version="5.6.0"`) {
		t.Errorf("library of %d bytes without its version (%v)", len(js), err)
	}
	if n := strings.Count(lib, "</script"); n != 1 {
		t.Errorf("the library closes its script element %d times, want once", n)
	}
}

func TestNamesStayInside(t *testing.T) {
	evil := `</script><script>alert(1)</script><!--{b}" onload="alert(2)`
	v := 0.5
	charts := map[string]Chart{
		"frontier":  Frontier(evil, evil, []Family{{Name: evil, Source: evil, Points: []Point{{Name: evil, Dollars: 0.1, Score: 0.5, Low: 0.4, High: 0.6}}}, {Name: evil, Reference: true, Points: []Point{{Score: 0.5}}}}),
		"lines":     Lines(evil, evil, evil, []Line{{Name: evil, X: []float64{0, 1}, Y: []float64{0.5, 1}}}),
		"stacked":   Stacked(evil, evil, []string{evil, "two"}, []Series{{Name: evil, Values: []*float64{&v, nil}}}),
		"multiples": Multiples(evil, evil, evil, []string{evil, "two"}, []Panel{{evil, []Series{{Name: evil, Values: []*float64{&v, nil}}}}}),
		"bars":      Bars(evil, evil, []string{evil, "two"}, []Series{{Name: evil, Values: []*float64{&v, nil}}}),
		"ablation":  Ablation(evil, evil, []Bar{{Name: evil, Value: 0.5, Reference: true}}),
		"timeline":  Timeline(evil, []string{evil}, []Span{{Name: evil, Tier: evil, Start: 0.5, Length: 1}}),
	}
	for name, c := range charts {
		fragment, err := c.Fragment()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		html := string(fragment)
		if strings.Count(html, "<script") != 1 || strings.Count(html, "</script") != 1 || strings.Contains(html, "<!--") || strings.Contains(html, ` onload="`) {
			t.Errorf("%s: a name got out of its place:\n%s", name, html)
		}
		if !strings.Contains(html, "0.5") {
			t.Errorf("%s: the value is missing", name)
		}
		table, err := c.Table().HTML()
		if err != nil || strings.Contains(string(table), "<script") {
			t.Errorf("%s: table %s, %v", name, table, err)
		}
	}
}

func TestBadDataIsRefused(t *testing.T) {
	for want, c := range map[string]Chart{
		`line "a" has 2 values of x and 1 of y`: Lines("t", "x", "y", []Line{{Name: "a", X: []float64{1, 2}, Y: []float64{1}}}),
		"draw a chart that none of":             {},
		`"z" has 1 values for 2 groups`:         Multiples("t", "x", "y", []string{"g", "h"}, []Panel{{"p", []Series{{Name: "z", Values: []*float64{nil}}}}}),
		`"a" has 1 values for 2 groups`:         Bars("t", "y", []string{"g", "h"}, []Series{{Name: "a", Values: []*float64{nil}}}),
		`"b" has a value that is not finite`:    Lines("t", "x", "y", []Line{{Name: "b", X: []float64{1}, Y: []float64{math.NaN()}}}),
		`"c" has a value that is not finite`:    Frontier("t", "y", []Family{{Name: "c", Points: []Point{{Dollars: math.Inf(1)}}}}),
		`"d: NaN" has a value that is not fini`: Frontier("t", "y", []Family{{Name: "d", Reference: true, Points: []Point{{Score: math.NaN()}}}}),
	} {
		if _, err := c.PNG(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		if _, err := c.Fragment(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// What has no data yet is drawn empty.
func TestNothingToDraw(t *testing.T) {
	for name, c := range map[string]Chart{
		"frontier": Frontier("t", "y", nil), "family": Frontier("t", "y", []Family{{Name: "a"}}), "lines": Lines("t", "x", "y", []Line{{Name: "a"}}),
		"bars": Bars("t", "y", nil, nil), "multiples": Multiples("t", "x", "y", nil, nil), "ablation": Ablation("t", "y", nil), "timeline": Timeline("t", nil, nil),
		"one point": Frontier("t", "y", []Family{{Name: "a", Points: []Point{{Dollars: 0, Score: 0}}}}),
	} {
		if _, err := c.Fragment(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The front runs through its points in the order of their cost, and only through them.
func TestFrontierDrawsTheFront(t *testing.T) {
	families := func(front bool) []Family {
		return []Family{{Name: "dear", Points: []Point{{Dollars: 3, Score: 0.75, Front: front}}}, {Name: "beaten", Points: []Point{{Dollars: 2, Score: 0.125}}},
			{Name: "cheap", Points: []Point{{Dollars: 1, Score: 0.25, Front: front}}}}
	}
	line := func(c Chart) (out []float64) {
		for _, s := range c.figure.series {
			for _, m := range s.marks {
				if s.name == "Pareto front" {
					out = append(out, m.x, m.y)
				}
			}
		}
		return out
	}
	if got := line(Frontier("t", "F1", families(true))); len(got) != 4 || got[0] != 1 || got[1] != 0.25 || got[2] != 3 || got[3] != 0.75 {
		t.Errorf("the front is %v", got)
	}
	if got := line(Frontier("t", "F1", families(false))); got != nil {
		t.Errorf("a front %v is drawn where no point is on one", got)
	}
}
