package report

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/budgetmem/budgetmem/experiments/run"
	"github.com/budgetmem/budgetmem/experiments/stats"
	"github.com/budgetmem/budgetmem/kernel/chart"
)

// Heading says in a few lines what was run on what.
func (s Summary) Heading() []string {
	r := s.Run
	lines := []string{
		fmt.Sprintf("%s %s, %d questions (seed %d), %s axis, %s retrieval of the top %d chunks of %d tokens",
			r.Dataset, r.Split, s.Questions, r.Seed, r.Axis, r.Retrieval, r.TopK, r.ChunkTokens),
		fmt.Sprintf("model %s at $%g in / $%g out per million tokens, embedder %s, backend %s", r.Model, r.Price.In, r.Price.Out, r.Embedder, s.Backend),
	}
	if few := stats.TooFew(s.Questions); few != "" {
		lines = append(lines, "warning: "+few)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Judges)) {
		lines = append(lines, fmt.Sprintf("judge %s: model %s, prompts %s", name, s.Judges[name].Model, s.Judges[name].Prompts))
	}
	for _, w := range s.Warnings {
		lines = append(lines, "warning: "+w)
	}
	if s.Done < s.Total {
		lines = append(lines, fmt.Sprintf("not finished: %d of %d answers", s.Done, s.Total))
	}
	return lines
}

// WriteTable prints the run as aligned text. An error is that of w.
func (s Summary) WriteTable(w io.Writer) error {
	paid := "paid since this start: $" + Dollars(s.Paid)
	if len(s.Judges) > 0 {
		paid += ", and for judging $" + Dollars(s.JudgePaid)
	}
	_, err := fmt.Fprintf(w, "%s\n%s\n%s\nDollars are at list price, also for replies from the cache; %s.\n",
		strings.Join(s.Heading(), "\n"), textOf(s.tables()), s.leaderboard().ceilingNote(), paid)
	return err
}

// ceilingNote says what the ceiling is, or that there is none.
func (b leaderboard) ceilingNote() string {
	ceiling, most := 0, 0
	for _, r := range b.Results {
		if r.Policy == run.Gold {
			ceiling = max(ceiling, r.Score.N)
		} else {
			most = max(most, r.Score.N)
		}
	}
	switch {
	case ceiling == 0:
		return "There is no ceiling: no question was answered from its gold evidence."
	case ceiling < most:
		return "The ceiling answers the questions with known evidence from their gold evidence turns. On these no policy can be expected to exceed it."
	}
	return "The ceiling answers from the gold evidence turns, which no policy can be expected to exceed."
}

// tables are those that the terminal shows; the HTML report has more.
func (s Summary) tables() []chart.Table {
	return s.leaderboard().tables(fmt.Sprintf("cost per question, latency with %d questions in flight, evidence", s.InFlight), s.Run.TopK)
}

// tables are those of every leaderboard.
func (b leaderboard) tables(costs string, topK int) []chart.Table {
	out := []chart.Table{{Title: fmt.Sprintf("score: %s, mean over the questions; in brackets 95 %% bootstrap intervals", b.Metric), Rows: b.scoreTable()}}
	if rows := b.judgeTable(); len(rows) > 1 {
		out = append(out, chart.Table{Title: "judged by a language model; unreadable verdicts and failed calls are in no mean, and judging is in no cost", Rows: rows})
	}
	return append(out, chart.Table{Title: costs, Rows: b.costTable(topK)}, chart.Table{Title: "other metrics", Rows: b.metricTable(topK)})
}

// WriteTables prints tables as aligned text, each after an empty line. An error is that of w.
func WriteTables(w io.Writer, tables []chart.Table) error {
	_, err := io.WriteString(w, textOf(tables))
	return err
}

// textOf writes tables as aligned text, each after an empty line.
func textOf(tables []chart.Table) string {
	var b strings.Builder
	for _, t := range tables {
		b.WriteString("\n" + t.Title + "\n" + t.Text())
	}
	return b.String()
}

// versusHead are the columns of the difference to the baseline.
func (b leaderboard) versusHead() []string {
	if strings.Contains(b.Baseline, " ") {
		return []string{"vs baseline", "95 %"}
	}
	return []string{"vs " + b.Baseline, "95 %"}
}

// cells are a score's columns: number, mean, interval, difference, its interval.
func (s Scored) cells() []string {
	row := []string{strconv.Itoa(s.Score.N), mark(s.Score), bounds(s.Score, "%.3f"), "", ""}
	if s.Versus != nil {
		row[3], row[4] = fmt.Sprintf("%+.3f", s.Versus.Mean), bounds(*s.Versus, "%+.3f")
	}
	return row
}

func (s Scored) categoryCells(categories []string) []string {
	var row []string
	for _, c := range categories {
		row = append(row, mark(s.ByCategory[c]))
	}
	return row
}

func (b leaderboard) scoreTable() [][]string {
	rows := [][]string{slices.Concat([]string{"policy", "n", "score", "95 %"}, b.versusHead(), b.Categories)}
	for _, r := range b.Results {
		rows = append(rows, slices.Concat([]string{r.Label()}, r.cells(), r.categoryCells(b.Categories)))
	}
	return rows
}

func (b leaderboard) judgeTable() [][]string {
	rows := [][]string{slices.Concat([]string{"policy", "judge", "n", "score", "95 %"}, b.versusHead(),
		[]string{"mean of categories", "abstention", "unreadable", "failed", "$ judging"}, b.Categories)}
	for _, r := range b.Results {
		for _, name := range slices.Sorted(maps.Keys(r.Judges)) {
			j := r.Judges[name]
			abstention := ""
			if j.Abstention != nil {
				abstention = mark(*j.Abstention)
			}
			rows = append(rows, slices.Concat([]string{r.Label(), name}, j.cells(), []string{fmt.Sprintf("%.3f", j.CategoriesMean), abstention,
				strconv.Itoa(j.Unreadable), strconv.Itoa(j.Failed), Dollars(j.Usage.Dollars)}, j.categoryCells(b.Categories)))
		}
	}
	return rows
}

// costTable shows costs, latency and evidence.
func (b leaderboard) costTable(topK int) [][]string {
	rows := [][]string{{"policy", "$ total", "$/question", "front", "tokens in", "out", "ms p50", "p95", fmt.Sprintf("recall@%d", topK), "kept", "failed", "fallbacks"}}
	for _, r := range b.Results {
		found, kept, front := "", "", ""
		if r.RecallN > 0 {
			found, kept = fmt.Sprintf("%.3f", r.RecallRetrieved), fmt.Sprintf("%.3f", r.RecallKept)
		}
		if r.Pareto {
			front = "*"
		}
		means := []string{Dollars(r.DollarsMean), front, fmt.Sprintf("%.0f", r.In), fmt.Sprintf("%.0f", r.Out), fmt.Sprintf("%.0f", r.MSP50), fmt.Sprintf("%.0f", r.MSP95)}
		if r.Score.N == 0 {
			means = []string{"-", "", "-", "-", "-", "-"} // of nothing
		}
		rows = append(rows, slices.Concat([]string{r.Label(), Dollars(r.Dollars)}, means, []string{found, kept, strconv.Itoa(r.Failed), strconv.Itoa(r.Fallbacks)}))
	}
	return rows
}

// metricTable shows the other metrics without the judges', and the recall of the evidence's sessions.
func (b leaderboard) metricTable(topK int) [][]string {
	names := map[string]bool{}
	for _, r := range b.Results {
		for name := range r.Scores {
			names[name] = true
		}
		for judge := range r.Judges {
			delete(names, run.JudgeScore(judge))
		}
	}
	delete(names, b.Metric)
	metrics := slices.Sorted(maps.Keys(names))
	rows := [][]string{slices.Concat([]string{"policy"}, metrics, []string{fmt.Sprintf("all sessions@%d", topK), fmt.Sprintf("ndcg@%d", topK)})}
	for _, r := range b.Results {
		row := []string{r.Label()}
		for _, m := range metrics {
			score := "-"
			if v, ok := r.Scores[m]; ok {
				score = fmt.Sprintf("%.3f", v)
			}
			row = append(row, score)
		}
		if r.SessionsN > 0 {
			row = append(row, fmt.Sprintf("%.3f", r.SessionsRecallAll), fmt.Sprintf("%.3f", r.SessionsNDCG))
		}
		rows = append(rows, row)
	}
	return rows
}

// tierTable shows which tiers served each module.
func (b leaderboard) tierTable() [][]string {
	rows := [][]string{{"policy", "module", "served (questions)", "$/question", "ms p50"}}
	for _, r := range b.Results {
		for _, m := range r.Modules {
			rows = append(rows, []string{r.Label(), m.Module, counts(m.Served), Dollars(m.Dollars), fmt.Sprintf("%.0f", m.MS)})
		}
	}
	return rows
}

// tables shows the counts by model and by module.
func (c Calls) tables() []chart.Table {
	rows := func(first string, counts []CallCount) [][]string {
		out := [][]string{{first, "calls", "cached", "tokens in", "out", "$", "retries", "failed", "fallbacks", "ms p50", "p95"}}
		for _, c := range counts {
			out = append(out, []string{c.Name, strconv.Itoa(c.Calls), strconv.Itoa(c.Cached), strconv.Itoa(c.In), strconv.Itoa(c.Out), Dollars(c.Dollars),
				strconv.Itoa(c.Retries), strconv.Itoa(c.Failed), strconv.Itoa(c.Fallbacks), fmt.Sprintf("%.0f", c.P50), fmt.Sprintf("%.0f", c.P95)})
		}
		return out
	}
	return []chart.Table{{Title: "calls by model", Rows: rows("model", c.Models)}, {Title: "calls by module", Rows: rows("module", c.Modules)}}
}

// WriteTable prints the counts as aligned text. An error is that of w.
func (c Calls) WriteTable(w io.Writer) error {
	_, err := io.WriteString(w, strings.TrimPrefix(textOf(c.tables()), "\n"))
	return err
}

// counts lists the tiers with the number of questions that each served.
func counts(served map[string]int) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(served)) {
		parts = append(parts, fmt.Sprintf("%s %d", name, served[name]))
	}
	return strings.Join(parts, ", ")
}

func mark(i stats.Interval) string {
	if i.N == 0 {
		return "-"
	}
	return fmt.Sprintf("%.3f", i.Mean)
}

func bounds(i stats.Interval, format string) string {
	if i.N == 0 {
		return ""
	}
	return fmt.Sprintf("["+format+", "+format+"]", i.Low, i.High)
}

// Dollars writes an amount with three significant digits and without an exponent: local models cost millionths.
func Dollars(v float64) string {
	if v == 0 {
		return "0"
	}
	digits := 2
	for x := v; x < 1 && digits < 12; x *= 10 {
		digits++
	}
	return strconv.FormatFloat(v, 'f', digits, 64)
}
