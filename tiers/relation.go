package tiers

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"sort"
	"strings"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/tiers/text"
)

// extractor is a method that finds facts in one chunk without knowing the question, so that its result can be kept.
type extractor interface {
	// method names the method and its version; a change of what it finds changes the version.
	method() string
	// extract returns the facts of a chunk. others names the people its speakers talk to.
	extract(c chunk.Chunk, others map[string]string) []string
}

// arranger is an extractor whose findings become facts only when those of all kept chunks are seen together.
type arranger interface {
	arrange(found [][]string, items []Item) []string
}

// extracted runs an extractor over the kept chunks, through the fact cache, and returns the facts nearest to the question.
func (tb *toolbox) extracted(e extractor) runFunc {
	return func(ctx context.Context, in Input, step *Step) (Output, error) {
		step.Method = e.method()
		found := make([][]string, len(in.Items))
		for i, it := range in.Items {
			var err error
			found[i], err = tb.Facts.Facts(ctx, e.method(), it.Chunk, func(context.Context) ([]string, error) {
				return e.extract(it.Chunk, listeners(it.Chunk)), nil
			})
			if err != nil {
				return Output{}, fmt.Errorf("facts of chunk %q: %w", it.ID, err)
			}
		}
		var facts []string
		if a, ok := e.(arranger); ok {
			facts = a.arrange(found, in.Items)
		} else {
			for _, f := range found {
				facts = append(facts, f...)
			}
		}
		return Output{Facts: relevant(in, facts, tb.Options.MaxFacts)}, nil
	}
}

// listeners maps each speaker of a chunk to the one they talk to, when there are two.
func listeners(c chunk.Chunk) map[string]string {
	var speakers []string
	seen := map[string]bool{}
	for _, t := range c.Turns {
		if t.Speaker != "" && !seen[t.Speaker] {
			seen[t.Speaker] = true
			speakers = append(speakers, t.Speaker)
		}
	}
	if len(speakers) != 2 {
		return nil
	}
	return map[string]string{speakers[0]: speakers[1], speakers[1]: speakers[0]}
}

// minShown is how many facts are returned when none shares a word with the question.
const minShown = 3

// weakest is the share of the best fact's weight below which a fact is left out.
const weakest = 0.3

// relevant returns at most limit distinct facts, those first that share the rarer words with the question. Facts that
// share much less than the best one are left out.
func relevant(in Input, facts []string, limit int) []string {
	facts = distinct(facts)
	asked := slices.Sorted(maps.Keys(in.Language.Stems(in.Query))) // in a fixed order: sums must not vary from run to run
	stems := make([]map[string]bool, len(facts))
	count := map[string]int{}
	for i, f := range facts {
		statement, _, _ := strings.Cut(f, " (") // what follows is context: dates, speakers, neighbours
		stems[i] = in.Language.Stems(statement)
		for s := range stems[i] {
			count[s]++
		}
	}
	weights := make([]float64, len(facts))
	order := make([]int, 0, len(facts))
	best := 0.0
	for i := range facts {
		for _, s := range asked {
			if stems[i][s] {
				weights[i] += math.Log(1 + float64(len(facts))/float64(count[s]))
			}
		}
		best = max(best, weights[i])
	}
	for i, w := range weights {
		if w > 0 && w >= weakest*best {
			order = append(order, i)
		}
	}
	if len(order) == 0 {
		for i := range min(minShown, limit, len(facts)) {
			order = append(order, i)
		}
	}
	sort.SliceStable(order, func(a, b int) bool { return weights[order[a]] > weights[order[b]] })
	out := make([]string, 0, limit)
	for _, i := range order[:min(limit, len(order))] {
		out = append(out, facts[i])
	}
	return out
}

func distinct(list []string) []string {
	seen := map[string]bool{}
	var out []string
	for _, s := range list {
		if s != "" && !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	return out
}

// day writes when a session took place as answers want it ("8 May 2023"), or as its source does if that holds no date.
func day(time string) string {
	if t, ok := text.ParseTime(time); ok {
		return text.Day(t)
	}
	return time
}
