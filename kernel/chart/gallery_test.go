package chart

import (
	"bytes"
	"flag"
	"fmt"
	"html/template"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// go test ./kernel/chart -run Gallery -gallery DIR draws every kind of chart with made-up numbers into an existing folder,
// as a page and as PNGs: for people to look at after a change, and for the browser test to try.
var galleryDir = flag.String("gallery", "", "folder for gallery.html and the PNGs")

var galleryPage = template.Must(template.New("gallery").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Charts</title>
<style>:root{color-scheme:light dark}body{font:15px system-ui,sans-serif;max-width:1150px;margin:2em auto;padding:0 1em}section{margin:2em 0}</style>
{{.Library}}</head><body>
<h1>Charts, with made-up numbers</h1>
{{range .Charts}}<section data-show="chart:{{.Name}}">{{.Chart.Fragment}}</section>
{{end}}</body></html>
`))

func TestGallery(t *testing.T) {
	var page bytes.Buffer
	if err := galleryPage.Execute(&page, map[string]any{"Library": Library(), "Charts": gallery()}); err != nil {
		t.Fatal(err)
	}
	if *galleryDir == "" {
		return
	}
	files := map[string][]byte{"gallery.html": page.Bytes()}
	for _, c := range gallery() {
		png, err := c.Chart.PNG()
		if err != nil {
			t.Fatal(err)
		}
		files[c.Name+".png"] = png
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(*galleryDir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

type named struct {
	Name  string
	Chart Chart
}

// gallery has every kind of chart, with all that each can show.
func gallery() []named {
	low, mid, high := Series{Name: "low"}, Series{Name: "mid"}, Series{Name: "high"}
	var lambdas []string
	curve := Family{Name: "router, 5 seeds"}
	oracle := Family{Name: "oracle", Reference: true}
	for i := range 11 {
		l := float64(i) / 10
		lambdas = append(lambdas, fmt.Sprintf("λ %g", l))
		h, m := (1-l)*(1-l), 2*l*(1-l)
		share := 1 - h - m
		low.Values, mid.Values, high.Values = append(low.Values, &share), append(mid.Values, &m), append(high.Values, &h)
		score := 0.41 - 0.11*l*l
		curve.Points = append(curve.Points, Point{Name: lambdas[i], Dollars: 3e-5*(1-l) + 1.1e-5, Score: score, Low: score - 0.03, High: score + 0.03, Front: i%3 == 1})
		oracle.Points = append(oracle.Points, Point{Name: lambdas[i], Dollars: 2.2e-5*(1-l) + 0.9e-5, Score: score + 0.09})
	}
	var numbers []string
	for _, l := range lambdas {
		numbers = append(numbers, strings.TrimPrefix(l, "λ "))
	}
	var panels []Panel
	for i, name := range []string{"filter", "entity", "temporal", "topic", "summary"} {
		rows := []Series{low, mid, high}
		if i%2 == 1 {
			rows[0].Values, rows[2].Values = high.Values, low.Values
		}
		panels = append(panels, Panel{name, rows})
	}
	single := func(name string, dollars, score float64) Family {
		return Family{Name: name, Points: []Point{{Dollars: dollars, Score: score, Low: score - 0.07, High: score + 0.08}}}
	}
	seeds := make([]Line, 4)
	for s := range seeds {
		seeds[s].Name = fmt.Sprintf("seed %d", 42+s)
		for e := range 60 {
			x := float64(e)
			seeds[s].X, seeds[s].Y = append(seeds[s].X, x), append(seeds[s].Y, 0.6-0.4/(1+x/(12+4*float64(s)))+0.01*float64((e*7919+s*104729)%17)/17)
		}
	}
	seeds = append(seeds, Line{Name: "oracle", X: []float64{0, 59}, Y: []float64{0.62, 0.62}, Reference: true})
	values := func(v ...float64) (out []*float64) {
		for i := range v {
			out = append(out, &v[i])
		}
		return out
	}
	published := Family{Name: "BudgetMem", Source: "a table of a paper, Llama-3.3-70B", Points: []Point{{Name: "λ 0.1", Dollars: 4.4e-3, Score: 0.52}, {Name: "λ 0.9", Dollars: 1.1e-3, Score: 0.45}}}
	return []named{
		{"frontier", Frontier("score against dollars per question, with 95 % intervals and the Pareto front", "locomo-f1", []Family{
			{Name: "ceiling (gold evidence)", Reference: true, Points: []Point{{Dollars: 9e-6, Score: 0.449, Low: 0.363, High: 0.537}}},
			single("low", 1.58e-5, 0.296), single("mid", 1.3e-5, 0.366), single("mid,low,low,low,mid", 1.25e-5, 0.374), single("low,low,low,low,mid", 1.27e-5, 0.37),
			single("high", 4.4e-5, 0.401), single("random", 2.2e-5, 0.33),
			{Name: "on the front", Points: []Point{{Dollars: 2.6e-5, Score: 0.395, Low: 0.33, High: 0.45, Front: true}}},
			{Name: "on it too", Points: []Point{{Dollars: 1.9e-5, Score: 0.385, Low: 0.31, High: 0.44, Front: true}}},
		})},
		{"families", Frontier("families, points by rising λ, beside published numbers", "locomo-f1", []Family{
			single("low", 1.58e-5, 0.296), single("mid", 1.3e-5, 0.366), curve, oracle, published,
		})},
		{"learning", Lines("value on validation by epoch", "epoch", "mean return over λ", seeds)},
		{"shares", Stacked("tiers of filter by λ", "share of the questions", lambdas, []Series{low, mid, high})},
		{"multiples", Multiples("share of the questions that each tier served, by module", "λ", "share", numbers, panels)},
		{"ablation", Ablation("what each part is worth", "locomo-f1", []Bar{
			{Name: "all parts", Value: 0.41, Low: 0.36, High: 0.46, Reference: true}, {Name: "without alignment of rewards", Value: 0.38, Low: 0.33, High: 0.43},
			{Name: "two tiers instead of three", Value: 0.40, Low: 0.35, High: 0.44}, {Name: "filter always low", Value: 0.29, Low: 0.25, High: 0.34}, {Name: "top 3 chunks", Value: 0.33, Low: 0.29, High: 0.38},
		})},
		{"categories", Bars("score by category", "judge-longmemeval", []string{"single-session-user", "single-session-assistant", "single-session-preference", "multi-session", "temporal-reasoning", "knowledge-update"}, []Series{
			{Name: "ceiling (gold evidence)", Reference: true, Values: values(0.8, 0.85, 0.6, 0.55, 0.5, 0.7)},
			{Name: "low", Values: values(0.6, 0.7, 0.2, 0.3, 0.25, 0.5)}, {Name: "mid", Values: values(0.65, 0.72, 0.3, 0.35, 0.4, 0.55)}, {Name: "high", Values: []*float64{values(0.7)[0], nil, values(0.35)[0], values(0.4)[0], values(0.45)[0], values(0.6)[0]}},
		})},
		{"trace", Timeline("When did Rita sign up for the pottery class?", []string{"low", "mid", "high"}, []Span{
			{Name: "retrieve", Start: 0, Length: 21}, {Name: "filter", Tier: "mid", Start: 21, Length: 48, Dollars: 0},
			{Name: "entity", Tier: "low", Start: 69, Length: 3}, {Name: "temporal", Tier: "high", Start: 69, Length: 410, Dollars: 1.1e-5}, {Name: "topic", Tier: "mid", Start: 69, Length: 12},
			{Name: "summary", Tier: "high", Start: 479, Length: 380, Dollars: 9e-6}, {Name: "answer", Start: 859, Length: 210, Dollars: 4.2e-6},
		})},
	}
}
