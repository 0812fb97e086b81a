package report

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/budgetmem/budgetmem/datasets"
	"github.com/budgetmem/budgetmem/experiments/run"
	"github.com/budgetmem/budgetmem/internal/atomicfile"
	"github.com/budgetmem/budgetmem/kernel/chart"
)

// ErrNothingInCommon means that there is no question that all policies of all runs have answered.
var ErrNothingInCommon = errors.New("no question in common")

// CompareOptions says how runs are compared. Its zero value is ready to use.
type CompareOptions struct {
	// Metric is the score reported first: a metric, or run.JudgeScore of a judge that all runs have; "" takes the runs' own,
	// which must be the same.
	Metric string
	// Baseline is what the others are compared with: a label as tables show it, or a policy that occurs once. "" takes the
	// first run's policy "low", if there is one, else the cheapest.
	Baseline string
	// Seed drives the bootstrap; 0 takes the first run's.
	Seed int64
}

// Comparison is what several runs earned and cost on the questions that all their policies have answered.
type Comparison struct {
	Runs []RunInfo `json:"runs"`
	// Metric is the score reported first.
	Metric string `json:"metric"`
	// Questions is the number of questions compared; Of is the number that at least one policy has answered.
	Questions  int      `json:"questions"`
	Of         int      `json:"of"`
	Categories []string `json:"categories"`
	// Baseline is the label of the result that the others are compared with.
	Baseline string `json:"baseline"`
	// Results holds every policy of every run. A run's ceiling, over the questions with known evidence, comes first.
	Results []Result `json:"results"`
	// Calls counts the calls over the compared questions.
	Calls Calls `json:"calls"`

	topK    int
	columns []column
}

// RunInfo is a run in a comparison.
type RunInfo struct {
	Name     string                   `json:"name"`
	Settings run.Settings             `json:"settings"`
	Judges   map[string]run.JudgeInfo `json:"judges,omitempty"`
}

// Compare compares runs on the questions that every policy of every run has answered. If there are none, the error wraps
// ErrNothingInCommon and names the policy with the fewest.
func Compare(runs []run.Results, o CompareOptions) (Comparison, error) {
	if len(runs) == 0 {
		return Comparison{}, errors.New("compare: name at least one run")
	}
	c := Comparison{Metric: o.Metric, topK: runs[0].Settings.TopK}
	seed := cmp.Or(o.Seed, runs[0].Settings.Seed)
	for _, s := range runs {
		if c.Metric = cmp.Or(c.Metric, s.Settings.Metric); o.Metric == "" && c.Metric != s.Settings.Metric {
			return Comparison{}, fmt.Errorf("run %s is scored by %s and run %s by %s: name one metric for both", runs[0].Name, c.Metric, s.Name, s.Settings.Metric)
		}
		if slices.ContainsFunc(c.Runs, func(r RunInfo) bool { return r.Name == s.Name }) {
			return Comparison{}, fmt.Errorf("two runs are called %s: rename a folder", s.Name)
		}
		c.Runs = append(c.Runs, RunInfo{s.Name, s.Settings, s.Judges})
		for _, col := range s.Columns {
			name := s.Name
			if len(runs) == 1 {
				name = ""
			}
			c.columns = append(c.columns, column{name, col})
		}
	}
	common, err := c.common()
	if err != nil {
		return Comparison{}, err
	}
	calls, at := newCallCounter(), 0
	for _, r := range runs {
		for range r.Columns {
			col := &c.columns[at]
			at++
			col.Records = slices.DeleteFunc(slices.Clone(col.Records), func(r run.Record) bool { return !common[r.ID] })
			for _, rec := range col.Records {
				calls.add(rec, r)
			}
		}
	}
	b, err := newLeaderboard(c.columns, c.Metric, o.Baseline, seed)
	if err != nil {
		return Comparison{}, err
	}
	c.Categories, c.Baseline, c.Results, c.Calls = b.Categories, b.Baseline, b.Results, calls.list()
	return c, nil
}

// common returns the ids of the questions that every policy has answered with a score, and counts them. Ceilings are left
// out: some questions have none.
func (c *Comparison) common() (map[string]bool, error) {
	answered := map[string]int{}
	policies, fewest := 0, -1
	var scarce string
	for _, col := range c.columns {
		if col.Policy == run.Gold {
			continue
		}
		policies++
		n := 0
		for _, rec := range col.Records {
			if _, ok := rec.Scores[c.Metric]; ok {
				answered[rec.ID]++
				n++
			}
		}
		if fewest < 0 || n < fewest {
			fewest, scarce = n, label(col.runName, col.Policy)
		}
	}
	c.Of = len(answered)
	common := map[string]bool{}
	for id, n := range answered {
		if n == policies {
			common[id] = true
		}
	}
	if c.Questions = len(common); c.Questions == 0 {
		return nil, fmt.Errorf("compare %d policies by %s: %w (%s has %d of the %d questions that any has answered)",
			policies, c.Metric, ErrNothingInCommon, cmp.Or(scarce, "none"), max(fewest, 0), c.Of)
	}
	return common, nil
}

func (c Comparison) leaderboard() leaderboard {
	return leaderboard{Metric: c.Metric, Categories: c.Categories, Baseline: c.Baseline, Results: c.Results}
}

// Heading says in a few lines what is compared.
func (c Comparison) Heading() []string {
	lines := []string{fmt.Sprintf("%d of %d questions, those that all policies of all runs have answered; baseline: %s", c.Questions, c.Of, c.Baseline)}
	for _, r := range c.Runs {
		s := r.Settings
		line := fmt.Sprintf("%s: %s %s, %s axis, %s retrieval of the top %d, model %s", r.Name, s.Dataset, s.Split, s.Axis, s.Retrieval, s.TopK, s.Model)
		for _, name := range slices.Sorted(maps.Keys(r.Judges)) {
			line += fmt.Sprintf(", judge %s by %s", name, r.Judges[name].Model)
		}
		lines = append(lines, line)
	}
	return lines
}

func (c Comparison) tables() []chart.Table {
	return c.leaderboard().tables("cost per question, latency, evidence", c.topK)
}

// Charts draws the frontier and the scores by category.
func (c Comparison) Charts() []chart.Chart { return c.leaderboard().charts() }

// WriteTable prints the comparison as aligned text. The error is that of w.
func (c Comparison) WriteTable(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%s\n%s\n%s\n", strings.Join(c.Heading(), "\n"), textOf(c.tables()), c.leaderboard().ceilingNote())
	return err
}

// WriteJSON writes the comparison into a file. It replaces the file in whole or fails.
func (c Comparison) WriteJSON(path string) error { return atomicfile.WriteJSON(path, c) }

// WriteHTML writes a page that needs no other file: charts, tables, and every question with all answers to it. It replaces the
// file in whole or fails.
func (c Comparison) WriteHTML(path string) error {
	b := c.leaderboard()
	var names []string
	for _, r := range c.Runs {
		names = append(names, r.Name)
	}
	p := page{Title: strings.Join(names, ", "), Heading: c.Heading(), Note: b.ceilingNote(),
		Tables: slices.Concat(c.tables(), []chart.Table{{Title: "tiers", Rows: b.tierTable()}}, c.Calls.tables())}
	indices := map[string]int{}
	for i, col := range c.columns {
		for _, rec := range col.Records {
			at, ok := indices[rec.ID]
			if !ok {
				at = len(p.Questions)
				indices[rec.ID] = at
				p.Questions = append(p.Questions, pageQuestion{Question: datasets.Question{ID: rec.ID, Text: rec.Question, Date: rec.Trace.Date, Gold: rec.Gold, Category: rec.Category}})
			}
			rec.Trace.Retrieved, rec.Trace.Kept = nil, nil // the run's own report has them
			p.Questions[at].Answers = append(p.Questions[at].Answers, newAnswer(c.Results[i].Label(), c.Metric, rec))
		}
	}
	slices.SortFunc(p.Questions, func(a, b pageQuestion) int { return cmp.Compare(a.ID, b.ID) })
	return p.write(path, b)
}
