package train

import (
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"strconv"

	"github.com/budgetmem/budgetmem/experiments/frontier"
	"github.com/budgetmem/budgetmem/experiments/report"
	"github.com/budgetmem/budgetmem/internal/atomicfile"
	"github.com/budgetmem/budgetmem/kernel/chart"
	"github.com/budgetmem/budgetmem/router"
)

// Summary is the outcome of a training.
type Summary struct {
	Dir     string       `json:"-"`
	Method  string       `json:"method"`
	Metric  string       `json:"metric"`
	Lambdas []float64    `json:"lambdas"` // λs that routers are judged at
	Space   router.Space `json:"modules"`
	Seeds   []Seed       `json:"seeds"`
	// Warnings say what the numbers of questions cannot show.
	Warnings []string `json:"warnings,omitempty"`
	// NoTest is why there is no evaluation on test; "" if there is one.
	NoTest string `json:"no_test,omitempty"`
}

// Seed is the training with one seed; BestEpoch counts from 1.
type Seed struct {
	Seed      int64   `json:"seed"`
	BestEpoch int     `json:"best_epoch"`
	Epochs    []Epoch `json:"epochs"`
	// Hashes has the SHA-256 of the best and the last router's files, Routers their paths.
	Hashes  map[string]string `json:"hashes"`
	Routers map[string]string `json:"routers"`
	// Test has the evaluations of the best and the last router on test.
	Test map[string]Evaluation `json:"test,omitempty"`
	// Metrics are the lines of metrics.jsonl.
	Metrics []json.RawMessage `json:"-"`
}

// Evaluation is the evaluation of a router at all λs.
type Evaluation struct {
	// Value is the mean return over the λs.
	Value  float64 `json:"value"`
	Points []Point `json:"points"`
}

// write writes summary.json and report.html.
func (s *Summary) write() error {
	if err := atomicfile.WriteJSON(filepath.Join(s.Dir, "summary.json"), s); err != nil {
		return err
	}
	charts, err := s.Charts()
	if err != nil {
		return err
	}
	return report.WritePage(s.Report(), "Training of "+filepath.Base(s.Dir), "", s.Heading(), charts, s.Tables(), note)
}

const note = "Return is α·score + λ·efficiency, by one reward for all epochs and seeds. Value is its mean over the λs; the best epoch has the largest value on validation."

// Report is the path of the HTML report.
func (s *Summary) Report() string { return filepath.Join(s.Dir, "report.html") }

// Heading says in a few lines what was trained.
func (s *Summary) Heading() []string {
	lines := []string{fmt.Sprintf("%s, %d seeds, λ from %g to %g, scored by %s", s.Method, len(s.Seeds), s.Lambdas[0], s.Lambdas[len(s.Lambdas)-1], s.Metric)}
	if s.NoTest != "" {
		lines = append(lines, "not evaluated on test: "+s.NoTest)
	}
	for _, w := range s.Warnings {
		lines = append(lines, "warning: "+w)
	}
	most := 0.0
	for _, seed := range s.Seeds {
		for _, e := range seed.Test {
			for _, p := range e.Points {
				most = max(most, p.Predicted)
			}
		}
		for _, p := range seed.Epochs[len(seed.Epochs)-1].Points {
			most = max(most, p.Predicted)
		}
	}
	if most > 0 {
		lines = append(lines, fmt.Sprintf("warning: up to %.0f %% of the outcomes at a λ are predicted from other traced combinations by a Gaussian process", 100*most))
	}
	return lines
}

// Tables shows the seeds, and best and last by λ, means over the seeds.
func (s *Summary) Tables() []chart.Table {
	seeds := [][]string{{"seed", "best epoch", "validation value", "last", "test value of best", "of last", "hash of best", "of last"}}
	for _, seed := range s.Seeds {
		row := []string{strconv.FormatInt(seed.Seed, 10), strconv.Itoa(seed.BestEpoch), fmt.Sprintf("%.4f", seed.Epochs[seed.BestEpoch-1].Value),
			fmt.Sprintf("%.4f", seed.Epochs[len(seed.Epochs)-1].Value), "", "", seed.Hashes["best"][:12], seed.Hashes["last"][:12]}
		if seed.Test != nil {
			row[4], row[5] = fmt.Sprintf("%.4f", seed.Test["best"].Value), fmt.Sprintf("%.4f", seed.Test["last"].Value)
		}
		seeds = append(seeds, row)
	}
	out := []chart.Table{{Title: "seeds", Rows: seeds}, {Title: "best on validation, means over seeds", Rows: s.rows(func(seed Seed) []Point { return seed.Epochs[seed.BestEpoch-1].Points })}}
	if s.NoTest == "" {
		for _, name := range []string{"best", "last"} {
			out = append(out, chart.Table{Title: name + " on test, means over seeds", Rows: s.rows(func(seed Seed) []Point { return seed.Test[name].Points })})
		}
	}
	return out
}

// rows shows points by λ.
func (s *Summary) rows(points func(Seed) []Point) [][]string {
	head := []string{"λ", s.Metric, "$/question", "return"}
	for _, m := range s.Space {
		head = append(head, m.Name)
	}
	rows := [][]string{head}
	for l, lambda := range s.Lambdas {
		var score, dollars, ret float64
		shares := make([][]float64, len(s.Space))
		n := float64(len(s.Seeds))
		for _, seed := range s.Seeds {
			p := points(seed)[l]
			score, dollars, ret = score+p.Score/n, dollars+p.Dollars/n, ret+p.Return/n
			for m, module := range s.Space {
				if shares[m] == nil {
					shares[m] = make([]float64, len(module.Tiers))
				}
				for t, share := range p.Shares[m] {
					shares[m][t] += share / n
				}
			}
		}
		row := []string{fmt.Sprintf("%.3g", lambda), fmt.Sprintf("%.4f", score), report.Dollars(dollars), fmt.Sprintf("%.4f", ret)}
		for m, module := range s.Space {
			row = append(row, frontier.Mix(module, shares[m]))
		}
		rows = append(rows, row)
	}
	return rows
}

// Charts draws the learning curves and the tiers by λ. It fails if the metrics of a seed cannot be read.
func (s *Summary) Charts() ([]chart.Chart, error) {
	var value []chart.Line
	steps := map[string][]chart.Line{}
	for _, seed := range s.Seeds {
		name := fmt.Sprintf("seed %d", seed.Seed)
		l := chart.Line{Name: name}
		for _, e := range seed.Epochs {
			l.X, l.Y = append(l.X, float64(e.Epoch)), append(l.Y, e.Value)
		}
		value = append(value, l)
		for _, field := range curves {
			l := chart.Line{Name: name}
			for i, line := range seed.Metrics {
				var step map[string]any
				if err := json.Unmarshal(line, &step); err != nil {
					return nil, fmt.Errorf("draw the metrics of seed %d: %w", seed.Seed, err)
				}
				if v, ok := step[field].(float64); ok {
					l.X, l.Y = append(l.X, float64(i)), append(l.Y, v)
				}
			}
			if len(l.X) > 0 {
				steps[field] = append(steps[field], l)
			}
		}
	}
	out := []chart.Chart{chart.Lines("value on validation by epoch", "epoch", "mean return over λ", value)}
	for _, field := range curves {
		if lines := steps[field]; lines != nil {
			out = append(out, chart.Lines("training: "+field, "step", field, lines))
		}
	}
	var groups []string
	for _, l := range s.Lambdas {
		groups = append(groups, fmt.Sprintf("λ %.3g", l))
	}
	for m, module := range s.Space {
		var series []chart.Series
		for t, tier := range module.Tiers {
			sr := chart.Series{Name: tier, Values: make([]*float64, len(s.Lambdas))}
			for l := range s.Lambdas {
				share := 0.0
				for _, seed := range s.Seeds {
					share += seed.Epochs[seed.BestEpoch-1].Points[l].Shares[m][t] / float64(len(s.Seeds))
				}
				sr.Values[l] = &share
			}
			series = append(series, sr)
		}
		out = append(out, chart.Stacked("tiers of "+module.Name+" by λ, best routers on validation", "share of the questions", groups, series))
	}
	return out, nil
}

// curves are the fields of metrics.jsonl that are drawn.
var curves = []string{"return", "score", "dollars", "entropy", "policy_loss", "value_loss", "approx_kl", "clip_fraction", "explained_variance"}

// WriteTable prints the outcome as aligned text. The error is that of w.
func (s *Summary) WriteTable(w io.Writer) error {
	for _, line := range s.Heading() {
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return report.WriteTables(w, s.Tables())
}
