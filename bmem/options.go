package bmem

import (
	"errors"
	"fmt"
	"time"

	"github.com/budgetmem/budgetmem/bmem/embed"
	"github.com/budgetmem/budgetmem/bmem/retrieve"
	"github.com/budgetmem/budgetmem/bmem/store"
	"github.com/budgetmem/budgetmem/router"
	"github.com/budgetmem/budgetmem/router/cascade"
	"github.com/budgetmem/budgetmem/tiers"
	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/text"
)

// Options says what a Memory works with. Path or Store, Embedder, Tokenizer and Client are required; every other zero value has a
// default.
type Options struct {
	// Path is the file that turns, chunks, vectors and extracted facts are kept in; it is created if it does not exist.
	Path string
	// Store, if not nil, keeps them instead of a file: postgres.Open has one that several machines share. The Memory closes it, also if
	// Open fails.
	Store *store.Store
	// Embedder turns questions, chunks and facts into vectors. Vectors of different embedders never mix.
	Embedder embed.Embedder
	// Tokenizer measures chunks; it should be the embedder's.
	Tokenizer embed.Tokenizer
	// Client is the model that writes answers and serves the tiers that need one.
	Client llm.Client
	// Models are the models that tiers name by a role, such as "small".
	Models map[string]llm.Client
	// Replies, if not nil, are the kept replies of the models: those that were made from what is forgotten go with it.
	Replies Replies
	// Tiers builds the modules' tiers; nil means tiers.Implementation.
	Tiers func(tiers.Deps) (tiers.Set, error)
	// TierOptions are passed on to Tiers.
	TierOptions tiers.Options
	// ChunkTokens is the size of a chunk in tokens (default 256).
	ChunkTokens int
	// Dates is the order of day, month and year in the turns' times where these are numbers; "" decides it for each memory
	// from all its times. Trace.Dates says what was decided.
	Dates text.DateOrder
	// OpenChunks is how many chunks the histories that are kept ready may have together (default 8192, of some 10 KB each). The
	// one asked last is always kept; others are read from the file again when they are asked.
	OpenChunks int
	// Defaults of every Ask; see the options of these names. TopK chunks are retrieved, of which KeepK pass the filter.
	TopK, KeepK int
	Retrieval   retrieve.Mode
	Policy      router.Policy
	AnswerStyle tiers.AnswerStyle
	// AnswerSamples, if more than 1, is how many replies every answer call samples; the answer is the one with the highest expected
	// F1 against the others; see tiers.Answerer.
	AnswerSamples int
	// Calibration, if not nil, gives answers a confidence (`bmem calibrate`), and log-probabilities are then asked for. LogProbs asks
	// for them also without one; where the tier set routes the answer, they always are.
	Calibration *cascade.Calibration
	LogProbs    bool
	// Progress, if not nil, is told how many of the texts that Add has to embed are done; by several goroutines at once if
	// several memories are added at once.
	Progress func(memory string, done, total int)
	// Observer, if not nil, watches every question.
	Observer Observer
}

// Defaults of Options.
const (
	DefaultChunkTokens = 256
	DefaultOpenChunks  = 8192
	DefaultTopK        = 5
	DefaultKeepK       = 3 // fewer than are retrieved, or the filter would only reorder
	// DefaultMemory is the memory that is meant where none is named.
	DefaultMemory = "default"
)

func (o Options) withDefaults() (Options, error) {
	var missing []error
	for name, absent := range map[string]bool{"Path": o.Path == "" && o.Store == nil, "Embedder": o.Embedder == nil, "Tokenizer": o.Tokenizer == nil, "Client": o.Client == nil} {
		if absent {
			missing = append(missing, fmt.Errorf("Options.%s is required", name))
		}
	}
	if len(missing) > 0 {
		return o, errors.Join(missing...)
	}
	if o.Path != "" && o.Store != nil {
		return o, errors.New("Options.Path and Options.Store: give one of them")
	}
	if _, err := text.ParseDateOrder(string(o.Dates)); err != nil {
		return o, fmt.Errorf("Options.Dates: %w", err)
	}
	mode, err := retrieve.ParseMode(string(o.Retrieval))
	if err != nil {
		return o, fmt.Errorf("Options.Retrieval: %w", err)
	}
	o.Retrieval = mode
	if o.Tiers == nil {
		o.Tiers = tiers.Implementation
	}
	setDefault(&o.ChunkTokens, DefaultChunkTokens)
	setDefault(&o.OpenChunks, DefaultOpenChunks)
	setDefault(&o.TopK, DefaultTopK)
	setDefault(&o.KeepK, DefaultKeepK)
	return o, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Option changes one Ask.
type Option func(*ask)

// ask is what one question is asked with.
type ask struct {
	memory      string
	question    string
	id          string
	date        string
	policy      router.Policy
	policySpec  string // parsed once the tiers are known; "" if policy is set
	topK, keepK int
	retrieval   retrieve.Mode
	style       tiers.AnswerStyle
	lambda      *float64 // of a learned policy; nil for its own
	maxCost     *float64 // dollars; nil for no limit
	// minConfidence and minAnswerable are what an answer needs to be given; nil for all.
	minConfidence, minAnswerable *float64
	// Turns from after and before before are seen; zero for no bound.
	after, before time.Time
}

// WithMemory asks the memory of that name instead of DefaultMemory.
func WithMemory(name string) Option { return func(a *ask) { a.memory = name } }

// WithPolicy lets a policy choose the tiers.
func WithPolicy(p router.Policy) Option { return func(a *ask) { a.policy, a.policySpec = p, "" } }

// WithMinConfidence abstains from answers whose Confidence is below a value in [0, 1]: Answer.Abstained is then set, and evidence and
// trace are there as usual. Without a calibration Ask fails with ErrNoCalibration; an answer whose confidence is not known, because
// the model tells no log-probabilities or the calibration is of other models, is withheld too.
func WithMinConfidence(confidence float64) Option {
	return func(a *ask) { a.minConfidence = &confidence }
}

// WithMinAnswerable abstains, as WithMinConfidence does, where Answerable, the probability that the memory answers the question at all, is
// below a value in [0, 1]. Without a calibration Ask fails with ErrNoCalibration, with one that was fitted without unanswerable questions
// (bmem calibrate --unanswerable) with ErrNoAnswerable.
func WithMinAnswerable(probability float64) Option {
	return func(a *ask) { a.minAnswerable = &probability }
}

// WithTiers fixes the tiers: one for all modules ("low") or one a module in their order ("low,high,mid,low,high");
// "random" draws them from the question's id, "cascade" and "cascade@0.3" are the cascade of Options.Calibration; see router.Parse for
// more. An unknown tier is reported by Ask.
func WithTiers(spec string) Option { return func(a *ask) { a.policySpec = spec } }

// WithTopK sets how many chunks are retrieved (default 5).
func WithTopK(k int) Option { return func(a *ask) { a.topK = k } }

// WithKeepK sets how many chunks the filter may keep (default 3); a filter by the method "all" keeps each.
func WithKeepK(k int) Option { return func(a *ask) { a.keepK = k } }

// WithRetrieval sets how chunks are found: retrieve.Hybrid (the default), retrieve.Rerank, retrieve.Dense or
// retrieve.BM25. The mode in Options says whether turns are embedded when they are added.
func WithRetrieval(m retrieve.Mode) Option { return func(a *ask) { a.retrieval = m } }

// WithBefore asks the memory as it was before a time: turns from then on are not seen. The time of a turn is that of its
// session, or when it was added if its session's time is not known.
func WithBefore(t time.Time) Option { return func(a *ask) { a.before = t } }

// WithAfter leaves out the turns from before a time. See WithBefore.
func WithAfter(t time.Time) Option { return func(a *ask) { a.after = t } }

// ParseTime reads a time for WithBefore and WithAfter: a day ("2025-03-03"), which begins in UTC, or a time in RFC 3339
// ("2025-03-03T10:04:00Z"). Anything else is an error.
func ParseTime(s string) (time.Time, error) {
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%.40q: want a day such as 2025-03-03 or a time such as 2025-03-03T10:04:00Z", s)
}

// WithQuestionDate says when the question is asked, in the words of the memory's dates.
func WithQuestionDate(date string) Option { return func(a *ask) { a.date = date } }

// WithQuestionID names the question, for policies that draw by it; without, its text does.
func WithQuestionID(id string) Option { return func(a *ask) { a.id = id } }

// WithAnswerStyle sets what form of answer is asked for.
func WithAnswerStyle(s tiers.AnswerStyle) Option { return func(a *ask) { a.style = s } }

// WithLambda sets the weight of cost against score that a trained router or a cascade decides by, for a router within the range it was
// trained for. Ask reports an error if the policy is neither.
func WithLambda(lambda float64) Option { return func(a *ask) { a.lambda = &lambda } }

// WithMaxCost limits what the question's model calls may cost together, in dollars; a reply from the cache counts as if it was
// paid, and embedding is no part of it. The limit is never passed: modules step down where the worst case of the tier asked
// for would not leave enough to finish, the relation modules run one after the other, and if even the lowest tiers might
// not fit, Ask fails with a MaxCostError that says what would. A trained router that was calibrated decides by the λ whose
// questions cost that much on average, unless WithLambda sets one. It needs clients made by llm.Stack.
func WithMaxCost(dollars float64) Option { return func(a *ask) { a.maxCost = &dollars } }
