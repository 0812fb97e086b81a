package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/bmem/retrieve"
	"github.com/budgetmem/budgetmem/bmem/setup"
	"github.com/budgetmem/budgetmem/datasets"
	"github.com/budgetmem/budgetmem/experiments/run"
	"github.com/budgetmem/budgetmem/experiments/workers"
	"github.com/budgetmem/budgetmem/tiers/llm"
)

// opens says how a run's data and models are opened. Keys are not among it: each machine has its own.
type opens struct {
	Dataset       string            `json:"dataset"`
	Model         string            `json:"model"`
	Endpoints     []string          `json:"endpoints,omitempty"`
	Roles         map[string]string `json:"roles,omitempty"`
	Tiers         string            `json:"tiers"`
	Embedder      string            `json:"embedder,omitempty"`
	Retrieval     retrieve.Mode     `json:"retrieval,omitempty"`
	AnswerSamples int               `json:"answer_samples"`
	AllowUnpriced bool              `json:"allow_unpriced,omitempty"`
	Fallback      []string          `json:"fallback,omitempty"`
	Hedge         bool              `json:"hedge,omitempty"`
}

// bindWorkers defines the flag that has other machines answer the questions.
func (f *benchFlags) bindWorkers(flags *pflag.FlagSet) {
	f.system.watch.bind(flags)
	flags.StringVar(&f.workers, "workers", "", "have the workers at a NATS server answer the questions, given as its `URL` such as nats://host:4222, or those of a cluster joined by commas (see 'bmem worker')")
}

// meetWorkers connects to the workers' server, where there is one, and makes the system share replies and the spend limit with
// them. What workers spent for the run before counts without them too.
func (f *benchFlags) meetWorkers(cmd *cobra.Command, dir string) (*workers.Coordinator, error) {
	spec := &f.system.spec
	if f.workers != "" {
		unlock, err := workers.LockFolder(dir)
		if err != nil {
			return nil, fmt.Errorf("--workers: %w", err)
		}
		f.unlock = unlock
	}
	folder, err := workers.OpenFolder(dir)
	if err != nil {
		return nil, err
	}
	if f.workers == "" {
		if spent := folder.Elsewhere(); spec.MaxDollars > 0 && spent > 0 {
			if spent >= spec.MaxDollars {
				return nil, fmt.Errorf("--max-dollars %v: %w: workers have spent $%.6f for this run already, or may have", spec.MaxDollars, llm.ErrBudget, spent)
			}
			spec.MaxDollars -= spent
		}
		return nil, nil
	}
	ctx := cmd.Context()
	if f.conn, err = workers.Connect(ctx, f.workers, "bmem "+cmd.Name(), workers.DefaultLease); err != nil {
		return nil, fmt.Errorf("--workers: %w", err)
	}
	spec.Replies = f.conn.Replies()
	if spec.MaxDollars > 0 {
		if err := f.conn.OpenLimit(ctx, folder.ID, spec.MaxDollars, folder.Books); err != nil {
			f.disconnect()
			return nil, err
		}
		spec.Allowance = f.conn.Allowance(folder.ID, workers.CoordinatorHolder)
	}
	return &workers.Coordinator{Conn: f.conn, Folder: folder, Limit: spec.MaxDollars, Note: notes(cmd.ErrOrStderr(), "note: ")}, nil
}

// notes returns a function that shows the user a line, which may quote what another machine sent. It is safe for concurrent use.
func notes(w io.Writer, before string) func(line string) {
	var mu sync.Mutex
	return func(line string) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintln(w, before+chunk.Plain(line))
	}
}

// disconnect ends the connection to the workers' server, if there is one, and lets others coordinate the run.
func (f *benchFlags) disconnect() {
	if f.conn != nil {
		f.conn.Close()
	}
	if f.unlock != nil {
		f.unlock()
	}
}

// opensFor tells workers to open what sys has.
func (f *benchFlags) opensFor(sys *setup.System) opens {
	s := f.system.spec
	o := opens{Dataset: f.dataset, Model: s.Model, Endpoints: s.Endpoints, Roles: s.Roles, Tiers: s.Tiers, Embedder: s.Embedder, Retrieval: s.Retrieval,
		AnswerSamples: s.AnswerSamples, AllowUnpriced: s.AllowUnpriced, Fallback: s.Fallback, Hedge: s.Hedge}
	if o.Model == "" {
		o.Model = sys.Client.Model() // the best here may not be the best there
	}
	return o
}

// workerFlags are the flags of `bmem worker`.
type workerFlags struct {
	system   systemFlags
	nats     string
	name     string
	dataDir  string
	capacity int
}

func newWorkerCmd() *cobra.Command {
	var f workerFlags
	cmd := &cobra.Command{
		Use:   "worker",
		Short: "Answer questions for the runs that other machines start with --workers",
		Long: `Answer questions for the runs that other machines start with --workers, by 'bmem eval', 'bmem traces collect', 'bmem frontier --live'
or 'bmem train --live', until it is interrupted. It takes up each run at the NATS server by itself: what a run needs, data set,
models, endpoints and tiers, the run says, and flags here go before that. A run whose data, models, prompts or version differ from what is here is refused, and told why.

Keys come from here alone. With --api-key-env give the endpoint that the key is for too, by --endpoint or as URL=NAME: an
endpoint that only the run names gets none.

What it spends counts in the limit of the run. A worker that is killed loses its questions to others after half a minute; what it had
paid for is kept, and asked for by nobody again.`,
		Example: `  bmem worker --nats nats://host:4222
  bmem worker --nats nats://host:4222 --capacity 32 --endpoint http://gpu7:8000/v1
  bmem worker --nats nats://n1:4222,nats://n2:4222,nats://n3:4222
  bmem worker --nats nats://host:4222 --metrics-addr 127.0.0.1:9090
  bmem worker --nats tls://host:4222 --api-key-env https://api.example.com/v1=KEY`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	flags := cmd.Flags()
	f.system.bind(flags)
	flags.StringVar(&f.nats, "nats", "", "`URL` of the NATS server, or of several joined by commas")
	flags.StringVar(&f.name, "name", "", "name that tells workers apart (default made of the machine's)")
	flags.StringVar(&f.dataDir, "data", "", "folder with the larger data files (default $"+datasets.DataEnv+")")
	f.system.watch.bind(flags)
	flags.IntVar(&f.capacity, "capacity", 8, "questions answered at one time")
	for _, name := range []string{"max-dollars", "top-k", "keep", "retrieval"} {
		_ = flags.MarkHidden(name) // the run says them
	}
	if err := cmd.MarkFlagRequired("nats"); err != nil {
		panic(err) // a flag of another name
	}
	return cmd
}

func (f *workerFlags) run(cmd *cobra.Command) (err error) {
	ctx, flags := cmd.Context(), cmd.Flags()
	for _, name := range []string{"max-dollars", "top-k", "keep", "retrieval"} {
		if flags.Changed(name) {
			return fmt.Errorf("--%s: the run says it: give it to 'bmem eval'", name)
		}
	}
	if f.capacity < 1 {
		return fmt.Errorf("--capacity %d: must be at least 1", f.capacity)
	}
	if f.name == "" {
		host, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("--name: the machine has none: %w", err)
		}
		f.name = host + "-" + strings.ToLower(rand.Text()[:4])
	}
	f.system.watch.service = cmd.Name()
	if err := f.system.watch.open(ctx, cmd.ErrOrStderr()); err != nil {
		return err
	}
	defer closing(f.system.watch, &err)
	conn, err := workers.Connect(ctx, f.nats, "bmem worker "+f.name, workers.DefaultLease)
	if err != nil {
		return fmt.Errorf("--nats: %w", err)
	}
	defer conn.Close()
	fmt.Fprintf(cmd.OutOrStdout(), "worker %s answers up to %d questions at one time; interrupt it to end it\n", f.name, f.capacity)
	var received func(context.Context, http.Header) context.Context
	if o := f.system.watch.observer; o != nil {
		received = o.Receive
	}
	w := &workers.Worker{Received: received, Conn: conn, Name: f.name, Capacity: f.capacity, Note: notes(cmd.ErrOrStderr(), ""), Open: func(ctx context.Context, job workers.Job) (workers.Opened, error) {
		return f.open(ctx, cmd, conn, job)
	}}
	return w.Work(ctx)
}

// spec is the system of a run, with this machine's flags over what the run says.
func (f *workerFlags) spec(flags *pflag.FlagSet, o opens) (systemFlags, error) {
	own := f.system
	s := &own.spec
	if len(s.Endpoints) == 0 && slices.ContainsFunc(s.KeyEnv, func(k string) bool { return !strings.Contains(k, "=") }) {
		return own, errors.New("--api-key-env: say which endpoint the key is for, by --endpoint or as URL=NAME")
	}
	roles := maps.Clone(o.Roles)
	for name, model := range s.Roles {
		if roles == nil {
			roles = map[string]string{}
		}
		roles[name] = model
	}
	s.Roles = roles
	for name, fill := range map[string]func(){
		"model":          func() { s.Model = o.Model },
		"endpoint":       func() { s.Endpoints = o.Endpoints },
		"axis":           func() { s.Tiers = o.Tiers },
		"embedder":       func() { s.Embedder = o.Embedder },
		"retrieval":      func() { s.Retrieval = o.Retrieval },
		"answer-samples": func() { s.AnswerSamples = o.AnswerSamples },
		"allow-unpriced": func() { s.AllowUnpriced = o.AllowUnpriced },
		"fallback":       func() { s.Fallback = o.Fallback },
		"hedge":          func() { s.Hedge = o.Hedge },
	} {
		if !flags.Changed(name) {
			fill()
		}
	}
	if !flags.Changed("hedge") && len(s.Endpoints) < 2 {
		s.Hedge = false // the run has several, this machine one of its own
	}
	return own, own.check()
}

// open opens data and system of a run.
func (f *workerFlags) open(ctx context.Context, cmd *cobra.Command, conn *workers.Conn, job workers.Job) (workers.Opened, error) {
	fail := func(err error) (workers.Opened, error) { return workers.Opened{}, err }
	var o opens
	if err := json.Unmarshal(job.Opens, &o); err != nil {
		return fail(fmt.Errorf("the run's description: %w", err))
	}
	data, err := datasets.Open(o.Dataset, datasets.Options{DataDir: f.dataDir})
	if err != nil {
		return fail(err)
	}
	own, err := f.spec(cmd.Flags(), o)
	if err != nil {
		return fail(err)
	}
	s := &own.spec
	s.ChunkTokens, s.Replies = data.ChunkTokens(), conn.Replies()
	var mine *workers.Slot
	if job.Limit > 0 {
		if mine, err = f.takeSlot(ctx, conn, job.Run); err != nil {
			return fail(err)
		}
		s.LedgerFile, s.Allowance = mine.Path, conn.Allowance(job.Run, mine.Holder)
	}
	sys, err := own.open(ctx, cmd.ErrOrStderr())
	if err != nil {
		mine.Close()
		return fail(err)
	}
	cfg := run.Config{Dataset: data, Memory: sys.Memory, System: run.Describe(sys, s.TierOptions)}
	job.Configure(&cfg)
	closeAll := func() error {
		err := sys.Close()
		mine.Close()
		return err
	}
	asker, err := run.NewAsker(ctx, cfg)
	if err != nil {
		return fail(errors.Join(err, closeAll()))
	}
	return workers.Opened{Asker: asker, Close: closeAll}, nil
}

// takeSlot takes a ledger of this machine for a run, and reports what dead workers have spent according to theirs.
func (f *workerFlags) takeSlot(ctx context.Context, conn *workers.Conn, id string) (*workers.Slot, error) {
	cache, err := setup.CacheDir(f.system.spec.CacheDir)
	if err != nil {
		return nil, err
	}
	mine, left, err := workers.TakeSlots(filepath.Join(cache, "workers"), id)
	if err != nil {
		return nil, err
	}
	for _, s := range left {
		err = errors.Join(err, s.Settle(ctx, conn, id))
		s.Close()
	}
	if err != nil {
		mine.Close()
		return nil, err
	}
	return mine, nil
}
