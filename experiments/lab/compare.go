package lab

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/experiments/frontier"
	"github.com/budgetmem/budgetmem/experiments/published"
	"github.com/budgetmem/budgetmem/experiments/stats"
	"github.com/budgetmem/budgetmem/kernel/chart"
	"github.com/budgetmem/budgetmem/router"
)

// seed is the default of `bmem traces collect`: the random policy's combinations are then among the traces.
const seed = 42

// Replay replays the test traces. The errors are those of episodes.NewReplay.
func (t *Benchmark) Replay() (*episodes.Replay, error) { return episodes.NewReplay(t.Test, nil) }

// Compare compares routers with uniform, random and static tiers, the cue-word rule and the oracle on the test questions. All
// choices are made on validation. The errors are those of frontier.Compare.
func (t *Benchmark) Compare(ctx context.Context, routers ...frontier.Family) (*frontier.Result, error) {
	validation, err := episodes.NewReplay(t.Validation, nil)
	if err != nil {
		return nil, err
	}
	test, err := t.Replay()
	if err != nil {
		return nil, err
	}
	return frontier.Compare(ctx, frontier.Options{Validation: validation, Test: test, Routers: routers, Seed: seed})
}

// Beside draws a comparison's frontier and, as hollow points, the paper's results for a data set and a model: F1 against
// dollars per question. They come from other models and partly from other questions, which the title names. A model or data set
// without published results is an error.
func Beside(r *frontier.Result, dataset, model string) (chart.Chart, error) {
	theirs, err := published.Families(dataset, model)
	if err != nil {
		return chart.Chart{}, err
	}
	title := fmt.Sprintf("%s, ours with %v; hollow: %s", r.Dataset, r.System["model"], theirs[0].Source)
	for i := range theirs {
		theirs[i].Source = "see title" // once is enough
	}
	return chart.Frontier(title, r.Metric+" (theirs: F1)", append(r.Families(), theirs...)), nil
}

// Shares draws how often a family of routers chooses each tier: one bar per module and given λ. A family or λ that the
// comparison lacks is an error.
func Shares(r *frontier.Result, family string, lambdas ...float64) (chart.Chart, error) {
	at := slices.IndexFunc(r.Entries, func(e frontier.Entry) bool { return e.Name == family })
	if at < 0 {
		return chart.Chart{}, fmt.Errorf("the comparison has no family %q", family)
	}
	var groups []string
	values := map[string][]*float64{}
	var tiers []string // in the order of the first module that has them
	for _, module := range r.Modules {
		for _, tier := range module.Tiers {
			if !slices.Contains(tiers, tier) {
				tiers = append(tiers, tier)
			}
		}
	}
	for m, module := range r.Modules {
		for _, p := range r.Entries[at].Points {
			if p.Lambda == nil || !slices.Contains(lambdas, *p.Lambda) {
				continue
			}
			groups = append(groups, fmt.Sprintf("%s λ %g", module.Name, *p.Lambda))
			for _, tier := range tiers {
				var v *float64
				if t := slices.Index(module.Tiers, tier); t >= 0 {
					v = &p.Shares[m][t]
				}
				values[tier] = append(values[tier], v)
			}
		}
	}
	if groups == nil {
		return chart.Chart{}, fmt.Errorf("the comparison has none of the λs %v; it has %v", lambdas, r.Lambdas)
	}
	var series []chart.Series
	for _, tier := range tiers {
		series = append(series, chart.Series{Name: tier, Values: values[tier]})
	}
	return chart.Stacked(family+": tiers by module and λ", "share of the questions", groups, series), nil
}

// Row is a policy in a bar chart.
type Row struct {
	Name   string
	Policy router.Policy
}

// Rows returns the uniform policies of the traces' tiers, and a family's router of the first seed at each λ. A λ that the router was
// not trained for is an error.
func (t *Benchmark) Rows(family frontier.Family, lambdas ...float64) ([]Row, error) {
	var rows []Row
	for _, tier := range t.Test.Space.Uniform() {
		p, err := router.Parse(tier, t.Test.Space, 0)
		if err != nil {
			return nil, err
		}
		rows = append(rows, Row{"uniform " + tier, p})
	}
	for _, lambda := range lambdas {
		p, err := router.NewLearned(family.Seeds[0], t.Test.Space, lambda)
		if err != nil {
			return nil, fmt.Errorf("family %q: %w", family.Name, err)
		}
		rows = append(rows, Row{fmt.Sprintf("%s λ %g", family.Name, lambda), p})
	}
	return rows, nil
}

// ByCategory draws the mean test score of policies in each category of questions. The errors are those of frontier.Evaluate.
func (t *Benchmark) ByCategory(ctx context.Context, rows []Row) (chart.Chart, error) {
	replay, err := t.Replay()
	if err != nil {
		return chart.Chart{}, err
	}
	category, count := map[string]string{}, map[string]int{}
	for _, tr := range t.Test.Episodes {
		category[tr.ID] = tr.Category
	}
	for _, c := range category {
		count[c]++
	}
	names := slices.Sorted(maps.Keys(count))
	var series []chart.Series
	for _, row := range rows {
		played, err := frontier.Evaluate(ctx, replay, row.Policy, 1)
		if err != nil {
			return chart.Chart{}, err
		}
		sum, n := map[string]float64{}, map[string]float64{}
		for i, id := range replay.IDs() {
			if played.Choices[i] != nil {
				sum[category[id]] += played.Outcomes[i].Score
				n[category[id]]++
			}
		}
		s := chart.Series{Name: row.Name, Values: make([]*float64, len(names))}
		for i, name := range names {
			if n[name] > 0 {
				mean := sum[name] / n[name]
				s.Values[i] = &mean
			}
		}
		series = append(series, s)
	}
	var groups []string
	for _, name := range names {
		groups = append(groups, fmt.Sprintf("%s (%d)", name, count[name]))
	}
	return chart.Bars(fmt.Sprintf("%s test by category (number of questions)", t.Test.Dataset), t.Test.Metric, groups, series), nil
}

// Curve returns the mean score and dollars of the first seed's router on the test questions, at the comparison's λs that it was
// trained for, in rising order. change, if not nil, returns the policy to play instead of the router's. The errors
// are those of frontier.Evaluate.
func (t *Benchmark) Curve(ctx context.Context, name string, family frontier.Family, change func(router.Policy) router.Policy) (chart.Family, error) {
	out := chart.Family{Name: name}
	r := family.Seeds[0]
	for _, lambda := range frontier.DefaultLambdas() {
		if l := r.Info().Lambda; lambda < l.Min || lambda > l.Max {
			continue
		}
		learned, err := router.NewLearned(r, t.Test.Space, lambda)
		if err != nil {
			return out, fmt.Errorf("family %q: %w", family.Name, err)
		}
		var p router.Policy = learned
		if change != nil {
			p = change(p)
		}
		point, err := t.point(ctx, p)
		if err != nil {
			return out, err
		}
		point.Name = fmt.Sprintf("λ %g", lambda)
		out.Points = append(out.Points, point)
	}
	return out, nil
}

// Uniform returns the mean score and dollars of each uniform policy on the test questions, for the tiers that all modules have.
// Policies that are not traced for every question are left out. The errors are those of frontier.Evaluate.
func (t *Benchmark) Uniform(ctx context.Context) ([]chart.Family, error) {
	replay, err := t.Replay()
	if err != nil {
		return nil, err
	}
	covered := replay.FullyObserved()
	var out []chart.Family
	for _, tier := range t.Test.Space.Uniform() {
		p, err := router.Parse(tier, t.Test.Space, seed)
		if err != nil {
			return nil, err
		}
		choices, _ := router.NonContextual(p, t.Test.Space, "") // uniform policies ignore embeddings
		if !slices.ContainsFunc(covered, func(c []int) bool { return slices.Equal(c, choices) }) {
			continue
		}
		point, err := t.point(ctx, p)
		if err != nil {
			return nil, err
		}
		out = append(out, chart.Family{Name: "uniform " + tier, Points: []chart.Point{point}})
	}
	return out, nil
}

// point plays a policy on the test questions.
func (t *Benchmark) point(ctx context.Context, p router.Policy) (chart.Point, error) {
	replay, err := t.Replay()
	if err != nil {
		return chart.Point{}, err
	}
	played, err := frontier.Evaluate(ctx, replay, p, 1)
	if err != nil {
		return chart.Point{}, err
	}
	var scores []float64
	for i, o := range played.Outcomes {
		if played.Choices[i] != nil {
			scores = append(scores, o.Score)
		}
	}
	score := stats.Bootstrap(scores, seed)
	return chart.Point{Name: p.Name(), Dollars: played.Mean().Dollars, Score: score.Mean, Low: score.Low, High: score.High}, nil
}
