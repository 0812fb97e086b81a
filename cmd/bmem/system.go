package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/spf13/pflag"

	"github.com/budgetmem/budgetmem/bmem"
	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/bmem/retrieve"
	"github.com/budgetmem/budgetmem/bmem/setup"
	"github.com/budgetmem/budgetmem/bmem/setup/inprocess"
	"github.com/budgetmem/budgetmem/tiers"
	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/openai"
)

// systemFlags are the flags of every verb that answers questions.
type systemFlags struct {
	spec     setup.Spec
	backend  string
	topK     int
	keepK    int
	settings string   // file
	set      []string // field=value
	session  string   // name of a header; "" for none
	watch    *watch   // shared by the copies of the flags
}

func (f *systemFlags) bind(flags *pflag.FlagSet) {
	s := &f.spec
	f.watch = &watch{}
	flags.StringVar(&f.backend, "backend", "", "what computes local models: "+inprocess.Backends+" (default $BUDGETMEM_BACKEND, else auto)")
	flags.StringVar(&s.Model, "model", "", "answering `model`: a name that 'bmem models list' shows or a GGUF file, also with +ADAPTER of 'bmem tune' behind it, or with --endpoint the endpoint's name (default the best that is here)")
	flags.StringVar(&s.Tiers, "axis", tiers.ImplementationAxis, "what tiers differ in: "+strings.Join(tiers.Axes(), ", ")+", or a YAML `file` with a tier set of your own")
	flags.StringToStringVar(&s.Roles, "role", nil, "model of a role that the tier set names, such as small=`NAME` or large=NAME@URL of an endpoint; may be repeated")
	flags.StringArrayVar(&s.Endpoints, "endpoint", nil, "base URL of an OpenAI-compatible endpoint that serves the model; may be repeated")
	flags.StringArrayVar(&s.Fallback, "fallback", nil, "`model` that answers where all endpoints of --model fail, such as NAME@URL; may be repeated, in order")
	flags.BoolVar(&s.Hedge, "hedge", false, "with several --endpoint, ask a second one where the first takes longer than for 95 of 100 calls, and take the reply that comes first; both are paid for")
	flags.StringArrayVar(&s.KeyEnv, "api-key-env", nil, "environment `variable` that holds the endpoint's key: one for each --endpoint in order ("+setup.NoKey+" for none), or URL=NAME for the endpoint of a NAME@URL; a key is sent to its own endpoint only")
	flags.StringVar(&f.settings, "model-settings", "", "YAML `file` with settings of models: output limits, parameters, headers, batch sizes")
	flags.StringArrayVar(&f.set, "model-set", nil, "setting for all models as `FIELD=VALUE`, such as max_tokens=200, reasoning_tokens=4000, reasoning_effort=low, max_completion_tokens=true, no_temperature=true, embed_batch=10, context_tokens=8192, query.api-version=V, headers.NAME=V, parameters.top_p=0.9; one that may hold a key is refused with models at several origins; may be repeated")
	flags.StringVar(&f.session, "session-header", "", "`name` of a header that is the same for all calls of a question, for routers in front of several servers that choose by one, such as X-Session-Id")
	flags.DurationVar(&s.Timeout, "timeout", openai.DefaultTimeout, "how long one call to an endpoint may take before it is tried again, such as 90s or 10m")
	flags.StringVar(&s.Embedder, "embedder", "", "embed at an endpoint, given as `NAME@URL` (default "+setup.Embedder+" on this machine)")
	flags.StringVar(&s.Prices, "prices", "", "YAML file with prices over the built-in ones")
	flags.BoolVar(&s.AllowUnpriced, "allow-unpriced", false, "count a model without a price as free instead of refusing it")
	flags.StringVar(&s.CacheDir, "cache", "", "folder for memories and replies (default $"+setup.EnvCache+", else the user's cache folder)")
	flags.StringVar(&s.Store, "store", "", storeUsage)
	flags.Float64Var(&s.MaxDollars, "max-dollars", 0, "spend limit in dollars; 0 sets none")
	flags.IntVar(&s.AnswerSamples, "answer-samples", 1, "replies to sample for an answer; of several the one that agrees most with the others is taken, and all are paid for")
	flags.StringVar(&s.Calibration, "calibration", "", "`file` of 'bmem calibrate', by which answers get a confidence and --policy cascade asks a better model where it pays")
	flags.BoolVar(&s.LogProbs, "answer-logprobs", false, "ask for the log-probabilities of answers also where the tier set does not route the answer, as traces to calibrate on need them")
	flags.IntVar(&f.topK, "top-k", bmem.DefaultTopK, "chunks to retrieve")
	flags.IntVar(&f.keepK, "keep", bmem.DefaultKeepK, "chunks the filter may keep")
	bindRetrieval(flags, s)
}

// bindRetrieval defines the flag that says how chunks are found, and so what is embedded when turns are added.
func bindRetrieval(flags *pflag.FlagSet, s *setup.Spec) {
	flags.StringVar((*string)(&s.Retrieval), "retrieval", string(retrieve.Hybrid), "how to find chunks: dense, bm25, rerank or hybrid; bm25 and rerank embed only what is found")
}

// calibrated makes the calibration that comes with the program the default, for verbs that answer people and agents.
func (f *systemFlags) calibrated(flags *pflag.FlagSet) {
	flag := flags.Lookup("calibration")
	f.spec.Calibration, flag.DefValue = setup.ShippedCalibration, setup.ShippedCalibration
	flag.Usage += `; "auto" is the one that comes with the program for the tier set and the model, if there is one, "" is none`
}

// check finds flags that cannot work before anything slow is done.
func (f *systemFlags) check() error {
	if _, err := retrieve.ParseMode(string(f.spec.Retrieval)); err != nil {
		return err
	}
	if err := inprocess.Check(f.backend); err != nil {
		return err
	}
	switch {
	case f.topK < 1 || f.keepK < 1:
		return fmt.Errorf("--top-k %d, --keep %d: must be at least 1", f.topK, f.keepK)
	case f.spec.AnswerSamples < 1:
		return fmt.Errorf("--answer-samples %d: must be at least 1", f.spec.AnswerSamples)
	case f.spec.Timeout <= 0:
		return fmt.Errorf("--timeout %v: must be positive", f.spec.Timeout)
	case !(f.spec.MaxDollars >= 0):
		return fmt.Errorf("--max-dollars %v: must not be negative", f.spec.MaxDollars)
	case f.spec.Hedge && len(f.spec.Endpoints) < 2:
		return errors.New("--hedge needs two --endpoint at least")
	case len(f.spec.Endpoints) > 0 && f.spec.Model == "":
		return errors.New("--endpoint needs --model: the name that the endpoint knows the model by")
	}
	return nil
}

// open opens the system and says on w what takes long.
func (f *systemFlags) open(ctx context.Context, w io.Writer) (*setup.System, error) {
	var mu sync.Mutex // two memories may be embedded at one time
	var last time.Time
	f.spec.Progress = func(memory string, done, total int) {
		mu.Lock()
		defer mu.Unlock()
		if done == total || time.Since(last) >= 5*time.Second {
			last = time.Now()
			fmt.Fprintf(w, "embedding %s: %d of %d texts\n", chunk.Label(memory), done, total)
		}
	}
	f.spec.Warn = func(message string) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintln(w, "note:", chunk.Plain(message))
	}
	if err := f.modelSettings(); err != nil {
		return nil, err
	}
	engine := &closingEngine{Engine: inprocess.New(f.backend, slog.New(slog.NewTextHandler(w, nil)))}
	if err := f.seen(ctx, w, engine); err != nil {
		return nil, err
	}
	f.spec.Engine = engine
	sys, err := setup.Open(ctx, f.spec)
	if err != nil {
		return nil, err
	}
	engine.more.Add(f.watch.sees(sys))
	if sys.Chosen != "" {
		fmt.Fprintf(w, "model %s (--model takes another; 'bmem models pull' says why it is this one)\n", sys.Client.Model())
	}
	return sys, nil
}

// watched is how the command is seen from outside; flags that were not bound have one too.
func (f *systemFlags) watched() *watch {
	if f.watch == nil {
		f.watch = &watch{}
	}
	return f.watch
}

// seen has the system watched that is about to be opened. What that starts here ends with the system's engine.
func (f *systemFlags) seen(ctx context.Context, w io.Writer, e *closingEngine) error {
	if !f.watched().started {
		if err := f.watch.open(ctx, w); err != nil {
			return err
		}
		e.more.Add(f.watch.Close)
	}
	f.watch.into(&f.spec)
	return nil
}

// modelSettings reads what --model-settings and --model-set say.
func (f *systemFlags) modelSettings() (err error) {
	if f.settings != "" {
		if f.spec.Models, err = llm.LoadModels(f.settings); err != nil {
			return fmt.Errorf("--model-settings: %w", err)
		}
	}
	set := f.set
	if f.session != "" {
		set = append([]string{"session_header=" + f.session}, set...)
	}
	for _, s := range set {
		if f.spec.Models, err = f.spec.Models.Set(s); err != nil {
			return fmt.Errorf("--model-set or --session-header: %w", err)
		}
	}
	return nil
}

// isTerminal says whether w is a terminal.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}
