package episodes

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/budgetmem/budgetmem/router"
	"github.com/budgetmem/budgetmem/router/offline"
)

// Live asks a system questions. It must be safe for concurrent use.
type Live interface {
	// IDs lists the questions that can be asked.
	IDs() []string
	// Ask asks a question under a policy, which decides once for every module. An error that wraps router.ErrFailed is that of
	// the question; any other ends a training.
	Ask(ctx context.Context, id string, p router.Policy) (router.Episode, error)
}

// Replay is a router.Environment over the episodes of a file. A combination of tiers without an episode is asked live, if there
// is a system to ask, and its episode is kept. Otherwise its outcome is predicted by a Gaussian process fitted to the episodes
// (see offline.Predictor), and modules see the embeddings of the question's nearest episode: of those with the longest
// common prefix of choices the one with the most equal choices, the first of equal ones. Such episodes count as predicted.
type Replay struct {
	file *File
	live Live
	ids  []string
	// predictor fits the Gaussian process once; it is used only without a live system, so that the episodes do not change.
	predictor func() (*offline.Predictor, error)

	mu      sync.Mutex
	of      map[string][]int // indices of the file's episodes by question
	played  Counts
	changed bool
	failed  int
	failure error // the first
}

// Failures returns how many times a live question failed, and the first error; the system may have answered it another time.
func (r *Replay) Failures() (n int, first error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed, r.failure
}

// Counts counts a replay's episodes by their origin.
type Counts struct {
	// Traced episodes were in the file, Live ones were asked, and the outcomes of Predicted ones were predicted.
	Traced    int `json:"traced"`
	Live      int `json:"live"`
	Predicted int `json:"predicted"`
}

// Share is the share of predicted episodes, 0 if there are no episodes.
func (c Counts) Share() float64 {
	if all := c.Traced + c.Live + c.Predicted; all > 0 {
		return float64(c.Predicted) / float64(all)
	}
	return 0
}

// Sub returns the difference to earlier counts.
func (c Counts) Sub(before Counts) Counts {
	return Counts{c.Traced - before.Traced, c.Live - before.Live, c.Predicted - before.Predicted}
}

// Add returns the sum.
func (c Counts) Add(o Counts) Counts {
	return Counts{c.Traced + o.Traced, c.Live + o.Live, c.Predicted + o.Predicted}
}

// NewReplay replays a file's episodes. live may be nil; otherwise it must know the file's questions, and its own questions are
// played if the file has none. No questions, or one that live does not know, are errors.
func NewReplay(f *File, live Live) (*Replay, error) {
	r := &Replay{file: &File{Header: f.Header, Episodes: slices.Clone(f.Episodes)}, live: live, ids: f.IDs(), of: map[string][]int{}}
	if live != nil {
		known := live.IDs()
		if len(r.ids) == 0 {
			r.ids = known
		}
		for _, id := range r.ids {
			if !slices.Contains(known, id) {
				return nil, fmt.Errorf("replay traces of %s %s: the live system does not know question %s", f.Dataset, f.Split, id)
			}
		}
	}
	r.predictor = sync.OnceValues(func() (*offline.Predictor, error) { return offline.NewPredictor(r.file.Shape(), r.file.Episodes) })
	if len(r.ids) == 0 {
		return nil, fmt.Errorf("replay traces of %s %s: there are no questions", f.Dataset, f.Split)
	}
	for i, t := range r.file.Episodes {
		r.of[t.ID] = append(r.of[t.ID], i)
	}
	return r, nil
}

// Header describes the episodes.
func (r *Replay) Header() Header { return r.file.Header }

// IDs lists the questions in their order.
func (r *Replay) IDs() []string { return r.ids }

// Len implements router.Environment.
func (r *Replay) Len() int { return len(r.ids) }

// Counts counts the episodes played so far by their origin.
func (r *Replay) Counts() Counts {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.played
}

// Snapshot returns the episodes including those asked live, and whether any was asked live.
func (r *Replay) Snapshot() (f *File, grown bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f, err := Merge(&File{Header: r.file.Header, Episodes: slices.Clone(r.file.Episodes)})
	if err != nil {
		panic(err) // one file agrees with itself
	}
	return f, r.changed
}

// Play implements router.Environment. An error that wraps router.ErrFailed is that of the question; others end the evaluation.
func (r *Replay) Play(ctx context.Context, i int, p router.Policy) (router.Outcome, error) {
	o, _, err := r.AskAll(ctx, i, p)
	return o, err
}

// Ask plays question i and returns its episode and the choices of the policy. If the outcome is predicted, the episode is the
// nearest one with the predicted outcome. Errors that wrap router.ErrFailed are those of the question.
func (r *Replay) Ask(ctx context.Context, i int, p router.Policy) (t router.Episode, asked []int, err error) {
	id := r.ids[i]
	r.mu.Lock()
	var known []router.Episode
	rows := slices.Clone(r.of[id])
	for _, n := range rows {
		known = append(known, r.file.Episodes[n])
	}
	r.mu.Unlock()
	for m, module := range r.file.Space {
		// The embedding that a module looks at depends on what was chosen before the first module that looks at it.
		before := slices.Index(r.file.MemoryIndex, r.file.MemoryIndex[m])
		at, exact := nearest(known, asked[:before])
		if !exact && r.live != nil {
			return r.ask(ctx, id, p, asked)
		}
		if len(known) == 0 {
			return t, asked, fmt.Errorf("%w: question %s is not traced", router.ErrFailed, id)
		}
		state := router.State{Question: id, Module: m, Query: known[at].Query,
			Memory: func(context.Context) ([]float32, error) { return known[at].Memory[r.file.MemoryIndex[m]], nil }}
		if m == len(r.file.Space)-1 {
			state.Signals = known[at].Signals
		}
		choice, err := p.Decide(ctx, state)
		if err != nil {
			return t, asked, err
		}
		if choice < 0 || choice >= len(module.Tiers) {
			return t, asked, fmt.Errorf("policy %s chose tier %d of the %d of module %s", p.Name(), choice, len(module.Tiers), module.Name)
		}
		asked = append(asked, choice)
	}
	at, exact := nearest(known, asked)
	if !exact && r.live != nil {
		return r.ask(ctx, id, p, asked)
	}
	t = known[at]
	if !exact {
		model, err := r.predictor()
		if err != nil {
			return router.Episode{}, asked, fmt.Errorf("replay traces of %s %s: %w", r.file.Dataset, r.file.Split, err)
		}
		o := model.Predict(rows[at], asked)
		t.Score, t.AnswerDollars = o.Score, min(t.AnswerDollars, o.Dollars)
		t.ModulesDollars = o.Dollars - t.AnswerDollars
		t.Answer, t.AnswerSignals, t.Calls, t.Draws = "", nil, nil, nil // those of another combination
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if exact {
		r.played.Traced++
	} else {
		r.played.Predicted++
	}
	return t, asked, nil
}

// nearest returns the index of the trace whose choices agree with a policy's so far for longest, of several the one with the most
// equal choices, and whether all are equal.
func nearest(known []router.Episode, choices []int) (best int, exact bool) {
	bestPrefix, bestEqual := -1, -1
	for i, t := range known {
		prefix, equal := 0, 0
		for m, c := range choices {
			if t.Choices[m] == c {
				equal++
				if prefix == m {
					prefix++
				}
			}
		}
		if prefix > bestPrefix || prefix == bestPrefix && equal > bestEqual {
			best, bestPrefix, bestEqual = i, prefix, equal
		}
	}
	return best, bestPrefix == len(choices)
}

// ask asks the live system; the policy keeps the choices it has made.
func (r *Replay) ask(ctx context.Context, id string, p router.Policy, chosen []int) (router.Episode, []int, error) {
	t, err := r.live.Ask(ctx, id, resumed{p, chosen})
	if errors.Is(err, router.ErrFailed) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.failed++; r.failure == nil {
			r.failure = err
		}
	}
	if err != nil {
		return router.Episode{}, chosen, err
	}
	if err := r.file.checkTrace(t); err != nil {
		return router.Episode{}, chosen, fmt.Errorf("question %s, asked live: %w", id, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.played.Live++
	for _, n := range r.of[id] {
		if slices.Equal(r.file.Episodes[n].Choices, t.Choices) {
			return t, t.Choices, nil
		}
	}
	r.of[id] = append(r.of[id], len(r.file.Episodes))
	r.file.Episodes = append(r.file.Episodes, t)
	r.changed = true
	return t, t.Choices, nil
}

// resumed is a policy with some decisions already made.
type resumed struct {
	router.Policy
	chosen []int
}

// Decide implements router.Policy.
func (p resumed) Decide(ctx context.Context, s router.State) (int, error) {
	if s.Module < len(p.chosen) {
		return p.chosen[s.Module], nil
	}
	return p.Policy.Decide(ctx, s)
}

// FullyObserved lists the combinations that have an episode for every question.
func (r *Replay) FullyObserved() [][]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	times := map[string]int{}
	var out [][]int
	for _, t := range r.file.Episodes {
		if !slices.Contains(r.ids, t.ID) {
			continue
		}
		k := fmt.Sprint(t.Choices)
		if times[k]++; times[k] == len(r.ids) {
			out = append(out, t.Choices)
		}
	}
	slices.SortFunc(out, slices.Compare)
	return out
}

// CanAsk reports whether there is a live system.
func (r *Replay) CanAsk() bool { return r.live != nil }

// errNoTraces means that a file is empty where episodes are needed.
var errNoTraces = errors.New("the file holds no traces")

// Usable returns an error if the file holds no episodes.
func (f *File) Usable() error {
	if len(f.Episodes) == 0 {
		return fmt.Errorf("traces of %s %s: %w", f.Dataset, f.Split, errNoTraces)
	}
	return nil
}

// Hash is the SHA-256 of the current episodes.
func (r *Replay) Hash() string {
	h := sha256.New()
	f, _ := r.Snapshot()
	f.Commit = ""
	if err := f.writeLines(h); err != nil {
		return err.Error() // traces that were read or checked can be written
	}
	return hex.EncodeToString(h.Sum(nil))
}
