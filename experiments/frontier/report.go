package frontier

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/budgetmem/budgetmem/experiments/report"
	"github.com/budgetmem/budgetmem/experiments/stats"
	"github.com/budgetmem/budgetmem/internal/atomicfile"
	"github.com/budgetmem/budgetmem/kernel/chart"
	"github.com/budgetmem/budgetmem/router"
)

// Heading says in a few lines what is compared, with warnings.
func (r *Result) Heading() []string {
	lines := []string{
		fmt.Sprintf("%s %s: %d of %d questions, scored by %s; λ from %g to %g, reward scale %.3f", r.Dataset, r.Split, r.Questions, r.Of, r.Metric,
			r.Lambdas[0], r.Lambdas[len(r.Lambdas)-1], r.Scale),
		"static assignments: " + r.StaticSearch,
	}
	if few := stats.TooFew(r.Questions); few != "" {
		lines = append(lines, "warning: "+few)
	}
	if e := r.Explained; e != nil {
		lines = append(lines, fmt.Sprintf("of the variance of validation scores, %.0f %% come from the questions, %.0f %% from the tiers, %.0f %% from tiers by question, which a router can learn from embeddings, and %.0f %% from none of these", 100*e.Question, 100*e.Tiers, 100*e.TiersByQuestion, 100*e.Rest))
	}
	if r.Validated != "" {
		lines = append(lines, "warning: static assignments and the reward scale come from validation traces of another system or data set than the test traces: "+r.Validated)
	}
	if r.Luck != nil {
		lines = append(lines, r.Luck.String())
	}
	for _, e := range r.Entries {
		if share := e.Counts.Share(); share > 0 {
			lines = append(lines, fmt.Sprintf("warning: %.0f %% of the outcomes of %q are predicted from other traced combinations by a Gaussian process", 100*share, e.Name))
		}
	}
	return lines
}

// Note explains the tables.
const Note = "Returns are α·score + λ·efficiency, means over the questions; in brackets 95 % intervals of a paired bootstrap over questions, and over questions and seeds where it says so. " +
	"Area is the mean score over budgets from the weak to the strong uniform policy, on the upper concave hull of a family's points with these two. APGR and CPT(50 %) are RouteLLM's, by dollars instead of calls; they are '-' where the strong policy scores no more than the weak one. " +
	"The oracle knows the outcomes of K combinations of tiers per question: no policy can be expected to reach it."

// Tables shows the result.
func (r *Result) Tables() []chart.Table {
	points := [][]string{{"policy", "λ", "score", "95 %", "$/question", "return", "vs best static", "95 %"}}
	curves := [][]string{{"family", "seeds", "hypervolume", "area", "95 %", "vs best static", "questions", "and seeds", "APGR", "95 %", "CPT(50 %)"}}
	returns := [][]string{{"family", "mean return over λ", "vs best static", "questions", "and seeds", "traced", "live", "predicted"}}
	for _, e := range r.Entries {
		for _, p := range e.Points {
			row := []string{p.Name, "", fmt.Sprintf("%.4f", p.Score.Mean), spread(p.Score, "%.3f"), report.Dollars(p.Dollars), "", "", ""}
			if p.Lambda != nil {
				row[1], row[5] = fmt.Sprintf("%g", *p.Lambda), fmt.Sprintf("%.4f", p.Return)
			}
			if p.Versus != nil {
				row[6], row[7] = fmt.Sprintf("%+.4f", p.Versus.Mean), spread(*p.Versus, "%+.4f")
			}
			points = append(points, row)
		}
		apgr := ""
		if iv, ok := e.CurveIntervals["apgr"]; ok {
			apgr = bracket(iv, "%.2f")
		}
		curves = append(curves, append([]string{e.Name, strconv.Itoa(e.Seeds), fmt.Sprintf("%.4f", e.Curve.Hypervolume), fmt.Sprintf("%.4f", e.Curve.Area),
			bracket(e.CurveIntervals["area"], "%.4f")}, append(e.AreaVersus.cells(), number(e.Curve.APGR, "%.3f"), apgr, number(e.Curve.CPT50, "%.3f"))...))
		returns = append(returns, append([]string{e.Name, fmt.Sprintf("%.4f", e.MeanReturn)}, append(e.ReturnVersus.cells(),
			strconv.Itoa(e.Counts.Traced), strconv.Itoa(e.Counts.Live), strconv.Itoa(e.Counts.Predicted))...))
	}
	return []chart.Table{
		{Title: "families: mean return, and where the outcomes come from", Rows: returns},
		{Title: fmt.Sprintf("families: the cost–score curve between %s and %s", r.Weak, r.Strong), Rows: curves},
		{Title: "policies", Rows: points},
		{Title: "tiers by λ (share of the questions)", Rows: r.tierRows()},
	}
}

func (d *Difference) cells() []string {
	if d == nil {
		return []string{"", "", ""}
	}
	return []string{fmt.Sprintf("%+.4f", d.Mean), bracket(d.Questions, "%+.4f"), bracket(d.Seeds, "%+.4f")}
}

func (r *Result) tierRows() [][]string {
	rows := [][]string{{"policy", "λ"}}
	for _, name := range r.Modules {
		rows[0] = append(rows[0], name.Name)
	}
	for _, e := range r.Entries {
		for _, p := range e.Points {
			row := []string{e.Name, ""}
			if p.Lambda != nil {
				row[1] = fmt.Sprintf("%g", *p.Lambda)
			}
			for m, shares := range p.Shares {
				row = append(row, Mix(r.Modules[m], shares))
			}
			rows = append(rows, row)
		}
	}
	return rows
}

// Mix lists the positive shares of a module's tiers.
func Mix(m router.Module, shares []float64) string {
	var parts []string
	for t, share := range shares {
		if share > 0 {
			parts = append(parts, fmt.Sprintf("%s %.2f", m.Tiers[t], share))
		}
	}
	return strings.Join(parts, " ")
}

// Families are the compared policies as a chart's points.
func (r *Result) Families() []chart.Family {
	var families []chart.Family
	for _, e := range r.Entries {
		f := chart.Family{Name: e.Name, Reference: e.Unreachable}
		for _, p := range e.Points {
			pt := chart.Point{Name: p.Name, Dollars: p.Dollars, Score: p.Score.Mean, Low: p.Score.Low, High: p.Score.High}
			if p.Lambda != nil {
				pt.Name = fmt.Sprintf("λ %g", *p.Lambda)
			}
			f.Points = append(f.Points, pt)
		}
		families = append(families, f)
	}
	return families
}

// Charts draws the frontier, and for each trained family the tiers of all modules as λ grows.
func (r *Result) Charts() []chart.Chart {
	out := []chart.Chart{chart.Frontier("score against cost, points by rising λ", r.Metric, r.Families())}
	for _, e := range r.Entries {
		if !e.Trained {
			continue
		}
		var groups []string
		for _, l := range r.Lambdas {
			groups = append(groups, fmt.Sprintf("%g", l))
		}
		var panels []chart.Panel
		for m, module := range r.Modules {
			panel := chart.Panel{Name: module.Name}
			for t, tier := range module.Tiers {
				s := chart.Series{Name: tier}
				for _, p := range e.Points {
					s.Values = append(s.Values, &p.Shares[m][t])
				}
				panel.Rows = append(panel.Rows, s)
			}
			panels = append(panels, panel)
		}
		out = append(out, chart.Multiples(e.Name+": tiers of each module by λ", "λ", "share of the questions", groups, panels))
	}
	return out
}

// WriteTable prints the result as aligned text. The error is that of w.
func (r *Result) WriteTable(w io.Writer) error {
	for _, line := range r.Heading() {
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	if err := report.WriteTables(w, r.Tables()); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w, "\n"+Note)
	return err
}

// WriteHTML writes a page that needs no other file. It replaces the file in whole or fails.
func (r *Result) WriteHTML(path string) error {
	return report.WritePage(path, "Policies on "+r.Dataset+" "+r.Split, r.Verdict(), r.Heading(), r.Charts(), r.Tables(), Note)
}

// WriteJSON writes the result into a file. It replaces the file in whole or fails.
func (r *Result) WriteJSON(path string) error {
	return atomicfile.WriteJSON(path, r)
}

// spread is the bracket of an estimate.
func spread(i stats.Interval, format string) string {
	return bracket([2]float64{i.Low, i.High}, format)
}

func bracket(iv [2]float64, format string) string {
	return fmt.Sprintf("["+format+", "+format+"]", iv[0], iv[1])
}
