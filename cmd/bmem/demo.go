package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/budgetmem/budgetmem/bmem/retrieve"
	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/experiments/frontier"
	"github.com/budgetmem/budgetmem/experiments/run"
	"github.com/budgetmem/budgetmem/experiments/train"
	"github.com/budgetmem/budgetmem/internal/atomicfile"
	"github.com/budgetmem/budgetmem/internal/backend"
	"github.com/budgetmem/budgetmem/internal/private"
	"github.com/budgetmem/budgetmem/kernel/display"
)

// demoFlags are the flags of `bmem demo`.
type demoFlags struct {
	bench  benchFlags
	traces string
	// readers is a folder with traces of several readers and a calibration of them; "" compares no cascade.
	readers string
	seeds   int
	epochs  int
	asJSON  bool
	// files are the traces by split.
	files map[string]*episodes.File
}

// demoLambda is the one λ that the short table shows: score and cost count alike.
const demoLambda = 0.5

func newDemoCmd() *cobra.Command {
	f := demoFlags{bench: benchFlags{split: run.TestSplit, sample: string(run.Natural), seed: 42}}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Train a router from traces, compare it, and check with live questions that the traces still hold",
		Long: `Train a router from traces, compare it, and check with live questions that the traces still hold.

The folder of --traces has train.jsonl.gz, validation.jsonl.gz and test.jsonl.gz, as 'bmem traces collect' writes them. Routers
are trained offline on the first, chosen on the second and compared with uniform, random and static tiers on the third. Then
the system that answered the traces is opened, with the same model and settings, and asked the test questions that cost least at each
uniform tier: score and cost have to be those of the traces. The command fails if the system has the settings of the traces and
fewer than two thirds of the scores agree; local models are deterministic, but processors add up in different orders.

Beside these a cascade, which lets a free answer stand or asks a model where that pays, is compared with fixed choices of who
answers: by validation.jsonl.gz, test.jsonl.gz and the calibration words.json in the folder of --readers.

Everything is kept in the folder of the run: router/ (the training), frontier.html, frontier.json, frontier.txt, the same of the readers
(readers.html, …) and live.json.`,
		Example: `  bmem demo
  bmem demo --traces traces/hotpotqa-implementation --name hotpotqa --questions 3`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.traces, "traces", filepath.Join("traces", "locomo-implementation"), "`folder` with the traces of the three splits")
	flags.StringVar(&f.readers, "readers", filepath.Join("traces", "locomo-readers"), "`folder` with traces of several readers and their calibration, left out if it is not there; \"\" for none")
	flags.IntVar(&f.seeds, "seeds", 3, "how many routers are trained")
	flags.IntVar(&f.epochs, "epochs", 20, "passes over the training traces; the router of the best pass is compared")
	flags.IntVar(&f.bench.questions, "questions", 6, "how many test questions are asked live; 0 asks none")
	flags.StringVar(&f.bench.runs, "runs", "runs", "folder that runs are kept in")
	flags.StringVar(&f.bench.name, "name", "demo", "the run's name")
	flags.StringVar(&f.bench.system.backend, "backend", "", "what computes: "+backend.Specs+" (default $"+backend.Env+", else auto)")
	flags.StringVar(&f.bench.system.spec.CacheDir, "cache", "", "folder for memories and replies of the live questions (default cache in the run's folder, so that the model is asked)")
	flags.BoolVar(&f.asJSON, "json", false, "write JSON instead of text")
	return cmd
}

// demoResult is what --json writes.
type demoResult struct {
	Seconds  float64            `json:"seconds"`
	Verdicts []frontier.Verdict `json:"verdicts"`
	// Readers are the verdicts on cascades over readers.
	Readers []frontier.Verdict `json:"readers,omitempty"`
	Live    *liveCheck         `json:"live,omitempty"`
	Page    string             `json:"page"`
	Tables  string             `json:"tables"`
}

func (f *demoFlags) run(cmd *cobra.Command) error {
	start := time.Now()
	if f.seeds < 1 || f.epochs < 1 || f.bench.questions < 0 {
		return fmt.Errorf("--seeds %d, --epochs %d, --questions %d: want at least 1, 1 and 0", f.seeds, f.epochs, f.bench.questions)
	}
	if !filepath.IsLocal(f.bench.name) {
		return fmt.Errorf("--name %q: give a name inside the folder of runs", f.bench.name)
	}
	f.files = map[string]*episodes.File{}
	for _, split := range splits {
		file, err := episodes.ReadSplit(filepath.Join(f.traces, split+".jsonl.gz"), split)
		if err != nil {
			return fmt.Errorf("--traces: %w", err)
		}
		f.files[split] = file
	}
	readers, err := f.openReaders(cmd)
	if err != nil {
		return err
	}
	if err := private.Dir(f.dir()); err != nil {
		return fmt.Errorf("make the run's folder: %w", err)
	}
	training, err := f.train(cmd)
	if err != nil {
		return err
	}
	compared, err := f.compare(cmd, training)
	if err != nil {
		return err
	}
	var who *frontier.Result
	if readers != nil {
		if who, err = f.compared(cmd, *readers, "readers"); err != nil {
			return err
		}
	}
	result := demoResult{Verdicts: compared.Verdicts, Page: filepath.Join(f.dir(), "frontier.html"), Tables: filepath.Join(f.dir(), "frontier.txt")}
	if who != nil {
		result.Readers = who.Verdicts
	}
	if f.bench.questions > 0 {
		if result.Live, err = f.live(cmd); err != nil {
			return err
		}
	}
	result.Seconds = time.Since(start).Seconds()
	if f.asJSON {
		err = writeJSON(cmd.OutOrStdout(), result)
	} else {
		err = f.print(cmd.OutOrStdout(), compared, who, result)
	}
	if err == nil && result.Live != nil {
		err = result.Live.fault()
	}
	return err
}

// dir is the folder of the run.
func (f *demoFlags) dir() string { return filepath.Join(f.bench.runs, f.bench.name) }

// train trains the routers offline.
func (f *demoFlags) train(cmd *cobra.Command) (*train.Summary, error) {
	bar := display.ProgressTo(cmd.ErrOrStderr(), "epochs of training")
	done := 0
	o := train.Options{Dir: filepath.Join(f.dir(), "router"), Seeds: f.seeds, NoTest: "the comparison has them",
		Progress: func(p train.Progress) {
			if p.Validation != nil {
				done++
				bar.Set(done, f.seeds*p.Epochs, fmt.Sprintf("seed %d", p.Seed))
			}
		}}
	var err error
	if o.Settings, err = train.NewSettings(train.Offline); err != nil {
		return nil, err
	}
	o.Settings.Config().Seed, o.Settings.Config().Epochs = f.bench.seed, f.epochs
	if o.Train, err = episodes.NewReplay(f.files[splits[0]], nil); err != nil {
		return nil, err
	}
	if o.Validation, err = episodes.NewReplay(f.files[splits[1]], nil); err != nil {
		return nil, err
	}
	be, err := backend.Open(f.bench.system.backend, nil)
	if err != nil {
		return nil, err
	}
	defer be.Finalize()
	o.Backend = be
	s, err := train.Run(cmd.Context(), o)
	bar.End(err)
	return s, err
}

// compare compares the routers on the test traces and writes page, tables and JSON.
func (f *demoFlags) compare(cmd *cobra.Command, s *train.Summary) (*frontier.Result, error) {
	families, err := readFamilies([]string{s.Dir}, nil, false)
	if err != nil {
		return nil, err
	}
	o := frontier.Options{Routers: families, Seed: f.bench.seed}
	if o.Validation, err = episodes.NewReplay(f.files[splits[1]], nil); err != nil {
		return nil, err
	}
	if o.Test, err = episodes.NewReplay(f.files[splits[2]], nil); err != nil {
		return nil, err
	}
	return f.compared(cmd, o, "frontier")
}

// openReaders reads what the comparison of the readers' cascade needs; nil if there is no folder of readers. One that is named has to be
// there.
func (f *demoFlags) openReaders(cmd *cobra.Command) (*frontier.Options, error) {
	if f.readers == "" {
		return nil, nil
	}
	o, err := frontier.ReadCascade(f.readers, "words.json", "validation.jsonl.gz", "test.jsonl.gz")
	if errors.Is(err, fs.ErrNotExist) && !cmd.Flags().Changed("readers") {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("--readers: %w", err)
	}
	o.Seed = f.bench.seed
	return &o, nil
}

// compared compares policies and writes page, JSON and tables of a name into the run's folder.
func (f *demoFlags) compared(cmd *cobra.Command, o frontier.Options, name string) (*frontier.Result, error) {
	bar := display.ProgressTo(cmd.ErrOrStderr(), "outcomes compared")
	o.Progress = func(done, of int) { bar.Set(done, of, "") }
	r, err := frontier.Compare(cmd.Context(), o)
	bar.End(err)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(f.dir(), name)
	return r, errors.Join(r.WriteHTML(path+".html"), r.WriteJSON(path+".json"), atomicfile.Write(path+".txt", 0o644, r.WriteTable))
}

// print writes the run in at most 25 lines; who may be nil.
func (f *demoFlags) print(out io.Writer, r, who *frontier.Result, result demoResult) error {
	stats := f.files[splits[0]].Stats()
	fmt.Fprintf(out, "\nCompared on %d %s test questions: %d routers trained on %d answers of %v to %d training questions.\n\n%s\n\n",
		r.Questions, r.Dataset, f.seeds, stats.Episodes, r.System["model"], stats.Questions, r.Verdict())
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "policy, λ = %g\tscore\t95 %%\tµ$/question\treturn vs best static, 95 %%\n", demoLambda)
	for _, e := range r.Entries {
		for _, p := range e.Points {
			if p.Lambda != nil && *p.Lambda != demoLambda {
				continue
			}
			versus := ""
			if p.Versus != nil {
				versus = fmt.Sprintf("%+.3f  [%+.3f, %+.3f]", p.Versus.Mean, p.Versus.Low, p.Versus.High)
			}
			fmt.Fprintf(w, "%s\t%.3f\t[%.3f, %.3f]\t%.1f\t%s\n", e.Name, p.Score.Mean, p.Score.Low, p.Score.High, 1e6*p.Dollars, versus)
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if who != nil {
		fmt.Fprintf(out, "\nWho answers, of %d %s test questions: %s Page: %s.\n", who.Questions, who.Dataset, who.Verdict(), filepath.Join(f.dir(), "readers.html"))
	}
	if result.Live != nil {
		fmt.Fprintf(out, "\n%s\n", result.Live)
	}
	_, err := fmt.Fprintf(out, "\npage: %s; all tables: %s; %.0f s\n", result.Page, result.Tables, result.Seconds)
	return err
}

// system fills in the flags of the system that answered the traces.
func (f *demoFlags) system() error {
	h := f.files[run.TestSplit].Header
	b := &f.bench
	text := func(name string) string { s, _ := h.System[name].(string); return s }
	number := func(name string) int { n, _ := h.System[name].(float64); return int(n) }
	b.dataset, b.system.spec.Tiers, b.system.spec.Model = h.Dataset, text("axis"), text("model")
	b.system.topK, b.system.keepK, b.system.spec.Retrieval = number("top_k"), number("keep_k"), retrieve.Mode(text("retrieval"))
	b.system.spec.CacheDir = cmp.Or(b.system.spec.CacheDir, filepath.Join(f.dir(), "cache"))
	if h.System["roles"] != nil {
		return fmt.Errorf("--traces %s: they were answered by several models, which only --questions 0 can show", f.traces)
	}
	return nil
}
