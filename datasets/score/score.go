// Package score computes the benchmarks' metrics. Systems publish different numbers under one name, so each metric here
// has a name for its exact variant, and follows the script that defines it down to white space and Unicode.
package score

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/budgetmem/budgetmem/internal/pytext"
	"github.com/budgetmem/budgetmem/internal/suggest"
	"github.com/budgetmem/budgetmem/tiers/text"
)

// Item is a prediction with what it is judged by.
type Item struct {
	// Prediction is the system's answer; "" is a wrong one.
	Prediction string
	// Gold holds the accepted answers. Each metric takes the best score over them.
	Gold []string
	// Category is LoCoMo's, as a number ("1" to "5") or a name ("multi-hop"). Only the metric "locomo" reads it.
	Category string
}

// Result is what a metric says of one item.
type Result struct {
	// Score is the metric itself, in [0,1].
	Score float64
	// Parts holds the further values of a metric that has several, by name: "em", "precision" and "recall" of hotpot.
	Parts map[string]float64
}

// Errors of Metric.Score and Lookup, to be told apart by errors.Is.
var (
	// ErrUnknown is wrapped when no metric has the name asked for.
	ErrUnknown = errors.New("unknown metric")
	// ErrNoGold is wrapped when an item has no gold answer and the metric needs one.
	ErrNoGold = errors.New("no gold answer")
	// ErrCategory is wrapped when the metric goes by the category and the item's is none of LoCoMo's.
	ErrCategory = errors.New("unknown category")
)

// Metric is one way of scoring an answer.
type Metric struct {
	// Name is what reports call it, such as "locomo-f1".
	Name string
	// Summary says in a line what it is.
	Summary string

	pair       func(prediction, gold string) Result
	byCategory bool
}

var metrics = []Metric{
	{Name: "locomo", Summary: "LoCoMo's rule for the question's category (1 to 5): locomo-f1-max for 1, locomo-f1 for 2 to 4, refusal for 5", byCategory: true},
	{Name: "locomo-f1", Summary: "token F1 of stemmed words, articles and \"and\" removed (LoCoMo)", pair: plain(LoCoMoF1)},
	{Name: "locomo-f1-max", Summary: "both sides split at commas: for each gold part the best locomo-f1, then the mean (LoCoMo's multi-hop rule)", pair: plain(LoCoMoF1Max)},
	{Name: "token-set-f1", Summary: "F1 of the sets of lower-cased words, no stemming (A-MEM and mem0)", pair: plain(TokenSetF1)},
	{Name: "hotpot", Summary: "token F1 after removing articles, no stemming; 0 if one side alone is yes, no or noanswer (HotpotQA); with em, precision, recall", pair: hotpot},
	{Name: "exact", Summary: "1 if both sides are equal without case, punctuation and articles (HotpotQA's exact match)", pair: plain(Exact)},
	{Name: "bleu1", Summary: "BLEU of single words with brevity penalty, words split as NLTK does (A-MEM and mem0)", pair: plain(BLEU1)},
}

// Names lists the metrics that Lookup knows.
func Names() []string {
	names := make([]string, len(metrics))
	for i, m := range metrics {
		names[i] = m.Name
	}
	return names
}

// Metrics lists all metrics, for help texts and for reports that show several.
func Metrics() []Metric { return slices.Clone(metrics) }

// Lookup returns the metric of that name. An unknown name is refused with ErrUnknown and the nearest right one.
func Lookup(name string) (Metric, error) {
	i := slices.IndexFunc(metrics, func(m Metric) bool { return m.Name == name })
	if i < 0 {
		return Metric{}, fmt.Errorf("%w %q; did you mean %q? The metrics are %s",
			ErrUnknown, name, suggest.Name(name, Names()), strings.Join(Names(), ", "))
	}
	return metrics[i], nil
}

// Score scores one item: the best result over its gold answers. Where both sides are in a script without spaces between words, which
// the official scripts take for one word, they are cut into words first; see text.Tokens. It fails with ErrNoGold or, for the metric "locomo",
// with ErrCategory.
func (m Metric) Score(it Item) (Result, error) {
	pair := m.pair
	if m.byCategory {
		category, err := locomoCategory(it.Category)
		if err != nil {
			return Result{}, err
		}
		if category == 5 {
			return Result{Score: LoCoMoRefusal(it.Prediction)}, nil
		}
		pair = locomoRule(category)
	}
	if len(it.Gold) == 0 {
		return Result{}, fmt.Errorf("%w, which %s needs", ErrNoGold, m.Name)
	}
	one := func(gold string) Result {
		if text.Unspaced(gold) && text.Unspaced(it.Prediction) {
			return pair(text.Spaced(it.Prediction), text.Spaced(gold))
		}
		return pair(it.Prediction, gold)
	}
	best := one(it.Gold[0])
	for _, g := range it.Gold[1:] {
		if r := one(g); r.Score > best.Score {
			best = r
		}
	}
	return best, nil
}

// plain makes a metric of a function that returns a single number.
func plain(f func(prediction, gold string) float64) func(prediction, gold string) Result {
	return func(prediction, gold string) Result { return Result{Score: f(prediction, gold)} }
}

func hotpot(prediction, gold string) Result {
	f1, precision, recall := HotpotF1(prediction, gold)
	return Result{f1, map[string]float64{"em": Exact(prediction, gold), "precision": precision, "recall": recall}}
}

// LoCoMoCategories names LoCoMo's question categories by their number less one.
var LoCoMoCategories = [5]string{"multi-hop", "temporal", "open-domain", "single-hop", "adversarial"}

// locomoCategory reads a number or a name, in any case and with spaces or underscores for hyphens.
func locomoCategory(text string) (int, error) {
	name := strings.NewReplacer(" ", "-", "_", "-").Replace(strings.ToLower(text))
	if i := slices.Index(LoCoMoCategories[:], name); i >= 0 {
		return i + 1, nil
	}
	if n, err := strconv.Atoi(text); err == nil && 1 <= n && n <= len(LoCoMoCategories) {
		return n, nil
	}
	return 0, fmt.Errorf("%w %q: LoCoMo's are 1 to 5 or %s", ErrCategory, text, strings.Join(LoCoMoCategories[:], ", "))
}

func locomoRule(category int) func(prediction, gold string) Result {
	switch category {
	case 1:
		return plain(LoCoMoF1Max)
	case 3:
		return plain(func(prediction, gold string) float64 {
			first, _, _ := strings.Cut(gold, ";")
			return LoCoMoF1(prediction, pytext.Strip(first))
		})
	default:
		return plain(LoCoMoF1)
	}
}
