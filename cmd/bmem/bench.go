package main

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/budgetmem/budgetmem/bmem/setup"
	"github.com/budgetmem/budgetmem/datasets"
	"github.com/budgetmem/budgetmem/experiments/run"
	"github.com/budgetmem/budgetmem/experiments/workers"
	"github.com/budgetmem/budgetmem/internal/private"
	"github.com/budgetmem/budgetmem/tiers"
)

// benchFlags are the flags of every verb that asks a benchmark's questions.
type benchFlags struct {
	system               systemFlags
	dataset, split, name string
	runs, dataDir        string
	questions            int
	sample               string
	seed                 int64
	inFlight             int
	workers              string // URL of their NATS server; "" for none

	conn *workers.Conn // to that server
	// unlock lets other processes coordinate the run again; nil where this one does not.
	unlock func()
}

// bind defines the flags; the split's default is what it is set to.
func (f *benchFlags) bind(flags *pflag.FlagSet) {
	f.system.bind(flags)
	flags.StringVar(&f.dataset, "dataset", "locomo", "data set: "+strings.Join(datasets.Names(), ", ")+", or the `folder` of one of your own")
	flags.StringVar(&f.split, "split", f.split, "train, validation or test; choose settings on the first two only")
	flags.IntVar(&f.questions, "questions", 0, "how many questions; 0 asks all")
	bindSample(flags, &f.sample)
	flags.Int64Var(&f.seed, "seed", 42, "chooses the questions and drives the random policies")
	flags.StringVar(&f.name, "name", "", "the run's name (default made of the settings)")
	flags.StringVar(&f.runs, "runs", "runs", "folder that runs are kept in")
	flags.StringVar(&f.dataDir, "data", "", "folder with the larger data files (default $"+datasets.DataEnv+")")
	flags.IntVar(&f.inFlight, "in-flight", 0, "questions answered at one time (default 8 for local models, 32 for endpoints)")
}

// check finds flags that cannot work before anything slow is done.
func (f *benchFlags) check() error {
	if f.questions < 0 || f.inFlight < 0 {
		return fmt.Errorf("--questions %d, --in-flight %d: must not be negative", f.questions, f.inFlight)
	}
	if err := checkSample(f.sample); err != nil {
		return err
	}
	return f.system.check()
}

// bindSample defines the flag that says how questions are chosen; checkSample finds what it must not be.
func bindSample(flags *pflag.FlagSet, sample *string) {
	flags.StringVar(sample, "sample", string(run.Natural), "choose questions in the data's proportions of categories (natural), or equally many of each (balanced)")
}

func checkSample(sample string) error {
	if s := run.Sample(sample); s != run.Natural && s != run.Balanced {
		return fmt.Errorf("--sample %q: want %s or %s", sample, run.Natural, run.Balanced)
	}
	return nil
}

// open opens data and system, and makes the folder of the run. A default name begins with prefix. asked are the splits whose questions
// will be asked: one that is empty, or whose file is missing, is an error before anything is made or paid. What the flags say is in
// the configuration, which needs policies still. The caller closes the system.
func (f *benchFlags) open(cmd *cobra.Command, prefix string, asked ...string) (*setup.System, run.Config, error) {
	fail := func(err error) (*setup.System, run.Config, error) { return nil, run.Config{}, err }
	data, err := datasets.Open(f.dataset, datasets.Options{DataDir: f.dataDir})
	if err != nil {
		return fail(err)
	}
	for _, split := range asked {
		if _, err := splitQuestions(cmd, data, split); err != nil {
			return fail(err)
		}
	}
	spec := &f.system.spec
	set, err := tiers.LoadSpec(spec.Tiers)
	if err != nil {
		return fail(err)
	}
	if f.name == "" {
		f.name = prefix + f.defaultName(data, set)
	}
	if !filepath.IsLocal(f.name) {
		return fail(fmt.Errorf("--name %q: give a name inside the folder of runs", f.name))
	}
	dir := filepath.Join(f.runs, f.name)
	if err := private.Dir(dir); err != nil {
		return fail(fmt.Errorf("make the run's folder: %w", err))
	}
	spec.ChunkTokens, spec.LedgerFile = data.ChunkTokens(), filepath.Join(dir, "ledger.db")
	f.system.watched().service = cmd.Name()
	coordinator, err := f.meetWorkers(cmd, dir)
	if err != nil {
		return fail(err)
	}
	sys, err := f.system.open(cmd.Context(), cmd.ErrOrStderr())
	if err != nil {
		f.disconnect()
		return fail(err)
	}
	inFlight := f.inFlight
	if inFlight == 0 {
		inFlight = 32
		if sys.Local {
			inFlight = 8
		}
	}
	var executor run.Executor
	if coordinator != nil {
		coordinator.Opens = f.opensFor(sys)
		if o := f.system.watched().observer; o != nil {
			coordinator.Sending = o.Send
		}
		executor = coordinator
	}
	return sys, run.Config{
		Executor: executor,
		Dir:      dir, Dataset: data, Split: f.split, Questions: f.questions, Sample: run.Sample(f.sample), Seed: f.seed, Memory: sys.Memory,
		TopK: f.system.topK, KeepK: f.system.keepK, Retrieval: f.system.spec.Retrieval, InFlight: inFlight,
		System: run.Describe(sys, spec.TierOptions),
	}, nil
}

// defaultName names a run by what it is of, and by a hash of the settings that it may not change, so that a changed
// setting or prompt makes a run of its own.
func (f *benchFlags) defaultName(data datasets.Dataset, set tiers.Spec) string {
	s := f.system
	h := sha256.Sum256(fmt.Appendf(nil, "%q", []any{data.Hash(), tiers.PromptHash(), set.Hash(), s.spec.Roles, s.topK, s.keepK, s.spec.Retrieval, s.spec.Model, s.spec.Endpoints}))
	model := strings.TrimSuffix(filepath.Base(cmp.Or(s.spec.Model, "default")), ".gguf")
	axis := strings.TrimSuffix(filepath.Base(set.Name), filepath.Ext(set.Name))
	return fmt.Sprintf("%s-%s-%s-%s-seed%d-%.2x", data.Name(), f.split, axis, model, f.seed, h)
}
