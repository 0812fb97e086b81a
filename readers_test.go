package budgetmem

import (
	"bytes"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/experiments/calibrate"
	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/experiments/frontier"
	"github.com/budgetmem/budgetmem/router/cascade"
)

const (
	readersTraces = "traces/locomo-readers"
	readersPage   = "docs/results/readers.md"
	readersBegin  = "<!-- readers: written by go test . -run Readers -update -->\n"
	readersEnd    = "<!-- end of the readers -->\n"
	boughtBegin   = "<!-- what money buys: written by go test . -run Readers -update -->\n"
	boughtEnd     = "<!-- end of what money buys -->\n"
	transferBegin = "<!-- transfer: written by go test . -run Readers -update -->\n"
	transferEnd   = "<!-- end of the transfer -->\n"
)

// The page of the readers is made from the committed traces and the calibration that was announced.
func TestReaders(t *testing.T) {
	o, err := frontier.ReadCascade(readersTraces, "words.json", "validation.jsonl.gz", "test.jsonl.gz")
	if err != nil {
		t.Fatal(err)
	}
	o.Seed = 42
	validation, _ := o.Validation.Snapshot()
	test, _ := o.Test.Snapshot()
	r, err := frontier.Compare(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	writeFamilies(&b, r)
	writeLambdas(t, &b, r, "cascade words")
	writeConfidences(t, &b, o.Cascades[0].Calibration, test)
	writeForms(&b, validation, test)
	checkTable(t, readersPage, readersBegin, readersEnd, b.String())

	b.Reset()
	for _, signals := range [][]string{nil, {"form_words", "logprob_mean"}} {
		writeBought(t, &b, validation, signals)
	}
	checkTable(t, readersPage, boughtBegin, boughtEnd, b.String())

	b.Reset()
	writeBought(t, &b, readTraces(t, "traces/hotpotqa-readers", "train"), nil)
	checkTable(t, readersPage, transferBegin, transferEnd, b.String())
}

// readTraces reads a file of a folder of traces.
func readTraces(t *testing.T, folder, name string) *episodes.File {
	t.Helper()
	f, err := episodes.ReadFile(filepath.Join(folder, name+".jsonl.gz"))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// writeBought writes what money buys, with cascades by some signals; nil for all.
func writeBought(t *testing.T, w io.Writer, f *episodes.File, signals []string) {
	bought, err := frontier.WhatMoneyBuys(f, frontier.BoughtOptions{Times: 3, Signals: signals, Seed: 42})
	if err != nil {
		t.Fatal(err)
	}
	name := "all signals"
	if signals != nil {
		name = strings.Join(signals, ", ")
	}
	fmt.Fprintf(w, "Cascades by %s:\n\n```\n", name)
	if err := bought.WriteTable(w); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(w, "```\n\n")
}

// writeFamilies writes a row for each policy whose outcomes are all measured, with means over λ.
func writeFamilies(w io.Writer, r *frontier.Result) {
	fmt.Fprintf(w, "%d questions of %s %s.\n\n", r.Questions, r.Dataset, r.Split)
	fmt.Fprint(w, "| policy | mean return over λ | against best static | 95 % | mean score | mean µ$/question |\n|---|---|---|---|---|---|\n")
	for _, e := range r.Entries {
		if e.Counts.Predicted > 0 {
			continue
		}
		score, dollars := 0.0, 0.0
		for _, p := range e.Points {
			score, dollars = score+p.Score.Mean/float64(len(e.Points)), dollars+p.Dollars/float64(len(e.Points))
		}
		versus, interval := "–", "–"
		if d := e.ReturnVersus; d != nil {
			versus, interval = fmt.Sprintf("%+.4f", d.Mean), fmt.Sprintf("[%+.4f, %+.4f]", d.Questions[0], d.Questions[1])
		}
		fmt.Fprintf(w, "| %s | %.4f | %s | %s | %.3f | %.2f |\n", e.Name, e.MeanReturn, versus, interval, score, 1e6*dollars)
	}
}

// writeLambdas compares a policy with the best fixed choice at each λ.
func writeLambdas(t *testing.T, w io.Writer, r *frontier.Result, name string) {
	entry := func(name string) frontier.Entry {
		for _, e := range r.Entries {
			if e.Name == name {
				return e
			}
		}
		t.Fatalf("no policy %s was compared", name)
		return frontier.Entry{}
	}
	static, policy := entry("best static"), entry(name)
	fmt.Fprintf(w, "\n| λ | best static | score | µ$ | %s: score | µ$ | return, difference | 95 %% |\n|---|---|---|---|---|---|---|---|\n", name)
	for i, p := range policy.Points {
		s := static.Points[i]
		fmt.Fprintf(w, "| %g | %s | %.3f | %.2f | %.3f | %.2f | %+.4f | [%+.4f, %+.4f] |\n", *p.Lambda, s.Name, s.Score.Mean, 1e6*s.Dollars,
			p.Score.Mean, 1e6*p.Dollars, p.Versus.Mean, p.Versus.Low, p.Versus.High)
	}
}

// writeConfidences says how good the confidences of a calibration are on a file.
func writeConfidences(t *testing.T, w io.Writer, c *cascade.Calibration, f *episodes.File) {
	var models []string
	for _, r := range c.Readers {
		models = append(models, r.Model)
	}
	held, err := calibrate.Confidences(c, f, models, make([]int, len(models)))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(w, "\n| answer | model | n | score | mean confidence | calibration error | AUROC |\n|---|---|---|---|---|---|---|\n")
	for _, x := range held {
		model := x.Model
		if model == "" {
			model = "rules"
		}
		fmt.Fprintf(w, "| %s | %s | %d | %.3f | %.3f | %.3f | %.3f |\n", x.Tier, model, x.Questions, x.Score, x.Mean, x.Error, *x.AUROC)
	}
}

// writeForms says how well each reader does where the rules found words, and where they found anything else, and what it costs.
func writeForms(w io.Writer, files ...*episodes.File) {
	fmt.Fprint(w, "\n| split | rules found | n | share | rules | 0.5B | 1.5B | 0.5B, µ$ | 1.5B, µ$ |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, f := range files {
		measured, _ := calibrate.Measured(f)
		for _, words := range []float64{1, 0} {
			n, scores, dollars := 0.0, [3]float64{}, [3]float64{}
			for _, m := range measured {
				if m.Answers[0].Signals["form_words"] != words {
					continue
				}
				n++
				for i, a := range m.Answers {
					scores[i], dollars[i] = scores[i]+a.Score, dollars[i]+a.Dollars
				}
			}
			name := "a date, name, number, or one of two things"
			if words == 1 {
				name = "words"
			}
			fmt.Fprintf(w, "| %s | %s | %.0f | %.2f | %.3f | %.3f | %.3f | %.2f | %.2f |\n", f.Split, name, n, n/float64(len(measured)),
				scores[0]/n, scores[1]/n, scores[2]/n, 1e6*dollars[1]/n, 1e6*dollars[2]/n)
		}
	}
}
