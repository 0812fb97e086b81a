package bmem

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/budgetmem/budgetmem/internal/money"
	"github.com/budgetmem/budgetmem/router"
	"github.com/budgetmem/budgetmem/tiers"
	"github.com/budgetmem/budgetmem/tiers/llm"
)

// ErrMaxCost is matched by a MaxCostError.
var ErrMaxCost = errors.New("the question's cost limit is too low")

// MaxCostError says that a question cannot be answered within its WithMaxCost, even with every module at its lowest tier.
// Nothing that could pass the limit was called.
type MaxCostError struct {
	// Max is the limit, Spent what was spent before, both in dollars.
	Max, Spent float64
	// Need is a limit that would have been enough from here on with the lowest tiers, in the worst case, in dollars.
	Need float64
}

// Error names the limit and what would fit.
func (e *MaxCostError) Error() string {
	return fmt.Sprintf("%v: at most $%s, of it $%s spent, but with every module at its lowest tier it can cost $%s: allow at least that", ErrMaxCost, money.Text(e.Max), money.Text(e.Spent), roundedUp(e.Need))
}

// roundedUp writes dollars with four significant digits, never less than they are: who allows what it says gets an answer.
func roundedUp(dollars float64) string {
	if !(dollars > 0) || math.IsInf(dollars, 0) {
		return strconv.FormatFloat(dollars, 'f', -1, 64)
	}
	unit := math.Pow(10, 3-math.Floor(math.Log10(dollars)))
	for more := 0.0; more < 2; more++ { // one more where rounding made it less
		up, err := strconv.ParseFloat(strconv.FormatFloat((math.Ceil(dollars*unit)+more)/unit, 'g', 4, 64), 64)
		if err == nil && up >= dollars {
			return strconv.FormatFloat(up, 'f', -1, 64)
		}
	}
	return strconv.FormatFloat(dollars, 'f', -1, 64)
}

// Unwrap returns ErrMaxCost.
func (e *MaxCostError) Unwrap() error { return ErrMaxCost }

// answerRoom is how long a summary, in bytes, the answer call can always afford: what is set aside for it from the start. A
// longer one that does not fit is cut.
const answerRoom = 1200

// budget holds one question to its WithMaxCost. Before each module runs, the worst case of the cheapest way to finish after it
// is set aside; the module then gets the highest tier, up to the one asked for, whose own worst case fits into the rest.
type budget struct {
	max  float64 // dollars
	cap  *llm.Cap
	set  tiers.Set
	keep int // chunks that the filter keeps
}

// newBudget returns the budget of a question, nil without a limit.
func (m *Memory) newBudget(a ask) (*budget, error) {
	if a.maxCost == nil {
		return nil, nil
	}
	if !llm.Capped(m.options.Client) {
		return nil, fmt.Errorf("WithMaxCost: the model %s keeps to no limit: make it by llm.Stack", m.options.Client.Model())
	}
	for role, c := range m.options.Models {
		if !llm.Capped(c) {
			return nil, fmt.Errorf("WithMaxCost: the model of the role %q keeps to no limit: make it by llm.Stack", role)
		}
	}
	limit, err := llm.NewCap(*a.maxCost)
	if err != nil {
		return nil, fmt.Errorf("WithMaxCost: %w", err)
	}
	return &budget{max: *a.maxCost, cap: limit, set: m.set, keep: a.keepK}, nil
}

// within holds the calls of a context to the limit.
func (b *budget) within(ctx context.Context) context.Context {
	if b == nil {
		return ctx
	}
	return b.cap.Within(ctx)
}

// spent is the most that the calls can have cost, in dollars.
func (b *budget) spent() float64 {
	if b == nil {
		return 0
	}
	return b.cap.Spent()
}

// choose returns the highest tier up to the one asked for that fits, and why it is another.
func (b *budget) choose(ctx context.Context, m tiers.Module, asked int, in tiers.Input) (tier int, why string, err error) {
	tier, worst, aside, err := b.highest(ctx, m, asked, in)
	switch {
	case err != nil:
		return 0, "", err
	case tier < 0:
		return 0, "", b.tooLow(worst + aside)
	case tier < asked:
		why = b.mayNotFit(aside)
	}
	b.cap.SetAside(aside)
	return tier, why, nil
}

// highest returns the highest tier up to the one asked for whose worst case fits beside what is set aside for what follows, and both;
// −1 and those of the lowest tier if none fits.
func (b *budget) highest(ctx context.Context, m tiers.Module, asked int, in tiers.Input) (tier int, worst, aside float64, err error) {
	b.cap.SetAside(0)
	left, kept := b.cap.Left(), -1
	for tier = asked; tier >= 0; tier-- {
		if keep := b.keeps(m, tier, in); keep != kept {
			if aside, err = b.finish(ctx, m, keep, in); err != nil {
				return tier, 0, 0, err
			}
			kept = keep
		}
		if worst, err = b.set[m][tier].WorstCase(ctx, in); err != nil || worst+aside <= left {
			return tier, worst, aside, err
		}
	}
	return -1, worst, aside, nil
}

// keeps is how many of the chunks are there after a module at a tier, at most.
func (b *budget) keeps(m tiers.Module, tier int, in tiers.Input) int {
	if m != tiers.Filter {
		return len(in.Items)
	}
	if k, ok := b.set[m][tier].(tiers.Keeper); ok && k.KeepsAll() {
		return len(in.Items)
	}
	return min(b.keep, len(in.Items))
}

func (b *budget) mayNotFit(aside float64) string {
	return fmt.Sprintf("within $%s, of which $%s are spent and $%s set aside, it may not fit", money.Text(b.max), money.Text(b.cap.Spent()), money.Text(aside))
}

func (b *budget) tooLow(need float64) error {
	return &MaxCostError{Max: b.max, Spent: b.cap.Spent(), Need: b.cap.Spent() + need}
}

// finish is the worst case of the lowest tiers of all modules after m, which keeps some chunks, and of the answer; nothing follows the
// answer itself. What is not known yet is assumed: the longest chunks are kept, and each relation module finds some facts of some length.
func (b *budget) finish(ctx context.Context, m tiers.Module, keep int, in tiers.Input) (float64, error) {
	if m == tiers.Answering {
		return 0, nil
	}
	if m == tiers.Filter {
		in.Items = slices.SortedStableFunc(slices.Values(in.Items), func(x, y tiers.Item) int { return cmp.Compare(length(y), length(x)) })
		in.Items = in.Items[:keep]
	}
	if m < tiers.Summary {
		facts := make([]string, 10)
		for i := range facts {
			facts[i] = strings.Repeat("fact ", 20)
		}
		in.Entity, in.Temporal, in.Topic = facts, facts, facts
	}
	in.Notes = strings.Repeat("note ", answerRoom/5)
	sum, err := b.set[tiers.Answering][0].WorstCase(ctx, in)
	if err != nil {
		return 0, err
	}
	for later := m + 1; later < tiers.Answering; later++ {
		if len(b.set[later]) == 0 {
			continue
		}
		worst, err := b.set[later][0].WorstCase(ctx, in)
		if err != nil {
			return 0, err
		}
		sum += worst
	}
	return sum, nil
}

func length(it tiers.Item) int {
	n := 0
	for _, t := range it.Turns {
		n += len(t.Text)
	}
	return n
}

// fitting is how an answer stays within the limit.
type fitting struct {
	tier  int
	notes string
	why   string // it is another tier than the one asked for
	cut   string // the notes are cut
}

// fit returns the highest tier of the answer up to the one asked for that can afford the notes. If even the lowest cannot, it
// gets as much of them as it can afford.
func (b *budget) fit(ctx context.Context, asked int, in tiers.Input) (fitting, error) {
	tier, _, _, err := b.highest(ctx, tiers.Answering, asked, in)
	if err != nil {
		return fitting{}, err
	}
	f := fitting{tier: max(tier, 0), notes: in.Notes}
	if f.tier < asked {
		f.why = b.mayNotFit(0)
	}
	if tier >= 0 {
		return f, nil
	}
	left := b.cap.Left()
	worst := func(bytes int) (float64, error) {
		cut := in
		cut.Notes = prefix(in.Notes, bytes)
		return b.set[tiers.Answering][0].WorstCase(ctx, cut)
	}
	least, err := worst(0)
	if err != nil {
		return fitting{}, err
	}
	if least > left {
		return fitting{}, b.tooLow(least)
	}
	low, high := 0, len(in.Notes) // low bytes fit, high do not
	for high-low > 1 {
		mid := (low + high) / 2
		cost, err := worst(mid)
		if err != nil {
			return fitting{}, err
		}
		if cost <= left {
			low = mid
		} else {
			high = mid
		}
	}
	f.notes = prefix(in.Notes, low)
	f.cut = fmt.Sprintf("the summary of %d bytes was cut to %d to stay within $%s", len(in.Notes), len(f.notes), money.Text(b.max))
	return f, nil
}

// prefix returns at most the first n bytes of s, whole characters only.
func prefix(s string, n int) string {
	for n > 0 && n < len(s) && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// atLambda sets the λ of a learned policy or a cascade: the one asked for, or the one that its curve gives for the cost limit. It
// refuses a router that was trained on another embedder's vectors, which it would make nothing of.
func (a *ask) atLambda(embedder string) error {
	var err error
	switch p := a.policy.(type) {
	case *router.Learned:
		info := p.Info()
		if info.Embedder != embedder {
			return fmt.Errorf("policy %s: the router was trained on embeddings of %s, this memory's are of %s", p.Name(), info.Embedder, embedder)
		}
		if lambda, ok := a.lambdaBy(info.LambdaFor, len(info.Calibration) > 0, info.Lambda.Max); ok {
			if p, err = p.At(lambda); err == nil {
				a.policy = p
			}
		}
	case *router.Cascade:
		points := p.Calibration().Points
		if lambda, ok := a.lambdaBy(p.Calibration().LambdaFor, true, points[len(points)-1].Lambda); ok {
			if p, err = p.At(lambda); err == nil {
				a.policy = p
			}
		}
	default:
		if a.lambda != nil {
			return fmt.Errorf("WithLambda: policy %s is no trained router and no cascade", a.policy.Name())
		}
	}
	if err != nil {
		return fmt.Errorf("WithLambda: %w", err)
	}
	return nil
}

// lambdaBy is the λ that was asked for, or the one that a curve gives for the cost limit; ok is false if the policy keeps its own.
func (a *ask) lambdaBy(curve func(dollars float64) (float64, bool), known bool, most float64) (lambda float64, ok bool) {
	switch {
	case a.lambda != nil:
		return *a.lambda, true
	case a.maxCost == nil || !known:
		return 0, false
	}
	if lambda, ok = curve(*a.maxCost); !ok {
		lambda = most // even that is dearer on average; the limit still holds
	}
	return lambda, true
}
