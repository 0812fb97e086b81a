package report

import (
	"encoding/csv"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"

	"github.com/budgetmem/budgetmem/experiments/run"
	"github.com/budgetmem/budgetmem/experiments/stats"
)

// csvColumn is one column of the CSV file.
type csvColumn struct {
	name  string
	value func(Result) string
}

// WriteCSV writes one line per result. Numbers are written in full; missing ones are empty. The error is that of w.
func (c Comparison) WriteCSV(w io.Writer) error {
	columns := c.csvColumns()
	row := make([]string, len(columns))
	for i, col := range columns {
		row[i] = col.name
	}
	out := csv.NewWriter(w)
	err := out.Write(row)
	for _, r := range c.Results {
		for i, col := range columns {
			row[i] = col.value(r)
		}
		if err == nil {
			err = out.Write(row)
		}
	}
	out.Flush()
	if err == nil {
		err = out.Error()
	}
	if err != nil {
		return fmt.Errorf("write the comparison as CSV: %w", err)
	}
	return nil
}

func (c Comparison) csvColumns() []csvColumn {
	columns := []csvColumn{
		{"run", func(r Result) string {
			if r.Run == "" {
				return c.Runs[0].Name
			}
			return r.Run
		}},
		{"policy", func(r Result) string { return r.Policy }},
		{"metric", func(Result) string { return c.Metric }},
	}
	columns = append(columns, scoreColumns("", func(r Result) Scored { return r.Scored }, c.Categories)...)
	columns = append(columns,
		csvColumn{"pareto", func(r Result) string { return strconv.FormatBool(r.Pareto) }},
		csvColumn{"failed", func(r Result) string { return strconv.Itoa(r.Failed) }},
		csvColumn{"fallbacks", func(r Result) string { return strconv.Itoa(r.Fallbacks) }},
	)
	value := func(name string, v func(Result) float64) {
		columns = append(columns, csvColumn{name, func(r Result) string { return full(v(r)) }})
	}
	value("dollars", func(r Result) float64 { return r.Dollars })
	value("dollars_per_question", func(r Result) float64 { return r.DollarsMean })
	value("dollars_modules", func(r Result) float64 { return r.ModulesDollars })
	value("dollars_answer", func(r Result) float64 { return r.AnswerDollars })
	value("tokens_in_per_question", func(r Result) float64 { return r.In })
	value("tokens_out_per_question", func(r Result) float64 { return r.Out })
	value("ms_p50", func(r Result) float64 { return r.MSP50 })
	value("ms_p95", func(r Result) float64 { return r.MSP95 })
	among := func(name string, v func(Result) (float64, int)) {
		columns = append(columns, csvColumn{name, func(r Result) string { return orEmpty(v(r)) }})
	}
	among("recall_retrieved", func(r Result) (float64, int) { return r.RecallRetrieved, r.RecallN })
	among("recall_kept", func(r Result) (float64, int) { return r.RecallKept, r.RecallN })
	among("sessions_recall_all", func(r Result) (float64, int) { return r.SessionsRecallAll, r.SessionsN })
	among("sessions_ndcg", func(r Result) (float64, int) { return r.SessionsNDCG, r.SessionsN })

	metrics, judges := map[string]bool{}, map[string]bool{}
	for _, r := range c.Results {
		for name := range r.Scores {
			metrics[name] = true
		}
		for name := range r.Judges {
			judges[name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(metrics)) {
		columns = append(columns, csvColumn{name, func(r Result) string {
			if v, ok := r.Scores[name]; ok {
				return full(v)
			}
			return ""
		}})
	}
	for _, name := range slices.Sorted(maps.Keys(judges)) {
		prefix := run.JudgeScore(name) + "."
		columns = append(columns, scoreColumns(prefix, func(r Result) Scored { return r.Judges[name].Scored }, c.Categories)...)
		columns = append(columns,
			csvColumn{prefix + "unreadable", func(r Result) string { return strconv.Itoa(r.Judges[name].Unreadable) }},
			csvColumn{prefix + "failed", func(r Result) string { return strconv.Itoa(r.Judges[name].Failed) }},
			csvColumn{prefix + "dollars", func(r Result) string { return full(r.Judges[name].Usage.Dollars) }},
		)
	}
	return columns
}

// scoreColumns are those of one score, their names behind a prefix.
func scoreColumns(prefix string, get func(Result) Scored, categories []string) []csvColumn {
	versus := func(r Result) stats.Interval {
		if v := get(r).Versus; v != nil {
			return *v
		}
		return stats.Interval{}
	}
	columns := []csvColumn{
		{prefix + "n", func(r Result) string { return strconv.Itoa(get(r).Score.N) }},
		{prefix + "score", func(r Result) string { return orEmpty(get(r).Score.Mean, get(r).Score.N) }},
		{prefix + "low", func(r Result) string { return orEmpty(get(r).Score.Low, get(r).Score.N) }},
		{prefix + "high", func(r Result) string { return orEmpty(get(r).Score.High, get(r).Score.N) }},
		{prefix + "versus", func(r Result) string { return orEmpty(versus(r).Mean, versus(r).N) }},
		{prefix + "versus_low", func(r Result) string { return orEmpty(versus(r).Low, versus(r).N) }},
		{prefix + "versus_high", func(r Result) string { return orEmpty(versus(r).High, versus(r).N) }},
	}
	for _, c := range categories {
		columns = append(columns, csvColumn{prefix + "category." + c, func(r Result) string {
			iv := get(r).ByCategory[c]
			return orEmpty(iv.Mean, iv.N)
		}})
	}
	return columns
}

// full writes a number so that it parses to the same number.
func full(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

// orEmpty writes a mean over n values, "" if n is 0.
func orEmpty(v float64, n int) string {
	if n == 0 {
		return ""
	}
	return full(v)
}
