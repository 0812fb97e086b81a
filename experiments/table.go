package experiments

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Heading says in a few lines what was run on what.
func (s Summary) Heading() []string {
	r := s.Run
	lines := []string{
		fmt.Sprintf("%s %s, %d questions (seed %d), %s axis, %s retrieval of the top %d chunks of %d tokens",
			r.Dataset, r.Split, s.Questions, r.Seed, r.Axis, r.Retrieval, r.TopK, r.ChunkTokens),
		fmt.Sprintf("model %s at $%g in / $%g out per million tokens, embedder %s, backend %s", r.Model, r.Price.In, r.Price.Out, r.Embedder, s.Backend),
	}
	for _, w := range s.Warnings {
		lines = append(lines, "warning: "+w)
	}
	if s.Done < s.Total {
		lines = append(lines, fmt.Sprintf("not finished: %d of %d answers", s.Done, s.Total))
	}
	return lines
}

// ceilingLabel is what tables and charts call the gold evidence.
const ceilingLabel = "ceiling (gold evidence)"

// WriteTable prints the run as aligned text.
func (s Summary) WriteTable(w io.Writer) error {
	scores, costs := s.ScoreTable(), s.CostTable()
	_, err := fmt.Fprintf(w, "%s\n\nscore: %s, mean over the questions; in brackets 95 %% bootstrap intervals\n%s\ncost per question, latency with %d questions in flight, evidence\n%s",
		strings.Join(s.Heading(), "\n"), s.Run.Metric, align(scores), s.InFlight, align(costs))
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "\nThe ceiling answers from the gold evidence turns: no policy of a memory can be expected to pass it.\n"+
		"Dollars are at list price whether a reply came from the cache or not; paid since this start: $%s.\n", dollars(s.Paid))
	return err
}

// rows is the ceiling followed by the policies.
func (s Summary) rows() []Result { return append([]Result{s.Ceiling}, s.Policies...) }

// Label is the name that the table gives a result.
func (r Result) Label() string { return label(r.Policy) }

func label(policy string) string {
	if policy == Gold {
		return ceilingLabel
	}
	return policy
}

// ScoreTable returns the scores as rows of cells, the heading first.
func (s Summary) ScoreTable() [][]string {
	head := append([]string{"policy", "n", "score", "95 %", "vs low", "95 %"}, s.Categories...)
	table := [][]string{head}
	for _, r := range s.rows() {
		row := []string{r.Label(), strconv.Itoa(r.Score.N), mark(r.Score), bounds(r.Score, "%.3f"), "", ""}
		if r.Versus != nil && r.Versus.N > 0 {
			row[4], row[5] = fmt.Sprintf("%+.3f", r.Versus.Mean), bounds(*r.Versus, "%+.3f")
		}
		for _, c := range s.Categories {
			row = append(row, mark(r.ByCategory[c]))
		}
		table = append(table, row)
	}
	return table
}

// CostTable returns costs, latency and evidence as rows of cells, the heading first.
func (s Summary) CostTable() [][]string {
	table := [][]string{{"policy", "$ total", "$/question", "tokens in", "out", "ms p50", "p95", fmt.Sprintf("recall@%d", s.Run.TopK), "kept", "failed", "fallbacks"}}
	for _, r := range s.rows() {
		found, kept := "", ""
		if r.RecallN > 0 {
			found, kept = fmt.Sprintf("%.3f", r.RecallRetrieved), fmt.Sprintf("%.3f", r.RecallKept)
		}
		table = append(table, []string{r.Label(), dollars(r.Dollars), dollars(r.DollarsMean), fmt.Sprintf("%.0f", r.In), fmt.Sprintf("%.0f", r.Out),
			fmt.Sprintf("%.0f", r.MSP50), fmt.Sprintf("%.0f", r.MSP95), found, kept, strconv.Itoa(r.Failed), strconv.Itoa(r.Fallbacks)})
	}
	return table
}

// TierTable returns which tiers served each module, as rows of cells, the heading first.
func (s Summary) TierTable() [][]string {
	table := [][]string{{"policy", "module", "served (questions)", "$/question", "ms p50"}}
	for _, r := range s.Policies {
		for _, m := range r.Modules {
			table = append(table, []string{r.Label(), m.Module, counts(m.Served), dollars(m.Dollars), fmt.Sprintf("%.0f", m.MS)})
		}
	}
	return table
}

func mark(i Interval) string {
	if i.N == 0 {
		return "-"
	}
	return fmt.Sprintf("%.3f", i.Mean)
}

func bounds(i Interval, format string) string {
	if i.N == 0 {
		return ""
	}
	return fmt.Sprintf("["+format+", "+format+"]", i.Low, i.High)
}

// dollars shows three significant digits without an exponent: local models cost millionths.
func dollars(v float64) string {
	if v == 0 {
		return "0"
	}
	digits := 2
	for x := v; x < 1 && digits < 12; x *= 10 {
		digits++
	}
	return strconv.FormatFloat(v, 'f', digits, 64)
}

// align pads the cells of a table: the first column to the left, the others to the right.
func align(table [][]string) string {
	var widths []int
	for _, row := range table {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for _, row := range table {
		var line strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i == 0 {
				line.WriteString(cell + pad)
			} else {
				line.WriteString("  " + pad + cell)
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return b.String()
}
