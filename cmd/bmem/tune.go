package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/budgetmem/budgetmem/bmem"
	"github.com/budgetmem/budgetmem/datasets"
	"github.com/budgetmem/budgetmem/experiments/run"
	"github.com/budgetmem/budgetmem/kernel/display"
	"github.com/budgetmem/budgetmem/tiers"
	"github.com/budgetmem/budgetmem/tune"
)

func newTuneCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tune",
		Short: "Fine-tune a local model on questions and answers",
		Long: `Fine-tune a local model on questions and answers.

What is trained is an adapter (LoRA): a few megabytes that change the model's weights when both are opened together, as
--model NAME+ADAPTER. A tuned model reads its notes without worked examples, which are half of an untuned one's prompt.`,
	}
	cmd.AddCommand(newTuneDataCmd(), newTuneRunCmd(), newTuneEvalCmd(), newTuneExportCmd(), newTuneRerankerCmd())
	return cmd
}

// tuneDataFlags are the flags of `bmem tune data`.
type tuneDataFlags struct {
	system                                     systemFlags
	dataset, split, sample, dataDir, out, tier string
	variants                                   []string
	unseen, asJSON                             bool
	questions                                  int
	seed                                       int64
}

func newTuneDataCmd() *cobra.Command {
	var f tuneDataFlags
	cmd := &cobra.Command{
		Use:   "data",
		Short: "Make examples to train on from a data set's training questions",
		Long: `Make examples to train on from a data set's training questions.

The notes of an example are made as the product makes them when it is asked the question: retrieval, then the tiers. The
result is a JSON Lines file with the fields notes, question and answer, which 'bmem tune run' reads; a file of your own of
that form does as well.

Variants of the notes: retrieved (as the product gives them), shuffled (their lines in random order), distractors (the
evidence that the data set names, among one to three lines retrieved beside it), gold (that evidence alone).`,
		Example: `  bmem tune data --dataset locomo --out locomo.jsonl
  bmem tune data --dataset locomo --variants retrieved,distractors --out mixed.jsonl
  bmem tune data --dataset locomo --split validation --unseen --questions 200 --out validation.jsonl`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	flags := cmd.Flags()
	f.system.bind(flags)
	flags.Lookup("axis").DefValue, f.system.spec.Tiers = tiers.QuotesSet, tiers.QuotesSet
	flags.StringVar(&f.dataset, "dataset", "locomo", "data set: "+strings.Join(datasets.Names(), ", ")+", or the `folder` of one of your own")
	flags.StringVar(&f.split, "split", string(datasets.Train), "train, validation, or test for a result that was announced; no model is trained on examples of test")
	flags.StringVar(&f.dataDir, "data", "", "folder with the larger data files (default $"+datasets.DataEnv+")")
	flags.StringVar(&f.out, "out", "", "JSON Lines `file` to write")
	flags.StringVar(&f.tier, "policy", "mid", "tiers that write the notes")
	flags.StringSliceVar(&f.variants, "variants", []string{tune.Retrieved, tune.Distractors}, "kinds of notes: "+strings.Join(tune.Variants(), ", "))
	flags.BoolVar(&f.unseen, "unseen", false, "keep retrieved notes without any of the evidence, as a validation set must")
	flags.IntVar(&f.questions, "questions", 0, "how many questions; 0 takes all")
	bindSample(flags, &f.sample)
	flags.Int64Var(&f.seed, "seed", 42, "chooses the questions and drives the random variants")
	flags.BoolVar(&f.asJSON, "json", false, "write what was made as JSON")
	return cmd
}

func (f *tuneDataFlags) run(cmd *cobra.Command) (err error) {
	if f.out == "" {
		return errors.New("--out names the file to write; give one, such as --out examples.jsonl")
	}
	if f.questions < 0 {
		return fmt.Errorf("--questions %d: must not be negative", f.questions)
	}
	if err := checkSample(f.sample); err != nil {
		return err
	}
	if err := f.system.check(); err != nil {
		return err
	}
	data, err := datasets.Open(f.dataset, datasets.Options{DataDir: f.dataDir})
	if err != nil {
		return err
	}
	questions, err := splitQuestions(cmd, data, f.split)
	if err != nil {
		return err
	}
	if questions, err = run.Choose(questions, f.questions, f.seed, run.Sample(f.sample)); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(f.out), 0o755); err != nil {
		return err // before the work, not after it
	}
	if info, err := os.Stat(f.out); err == nil && info.IsDir() {
		return fmt.Errorf("--out %s is a folder: name a file", f.out)
	}
	f.system.spec.ChunkTokens = data.ChunkTokens()
	sys, err := f.system.open(cmd.Context(), cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	defer closing(sys, &err)
	bar := display.ProgressTo(cmd.ErrOrStderr(), "questions")
	examples, made, err := tune.MakeExamples(cmd.Context(), tune.DataConfig{
		Dataset: data, Memory: sys.Memory, Questions: questions, Test: f.split == run.TestSplit, Policy: f.tier, Variants: f.variants, Unseen: f.unseen,
		Seed: f.seed, Progress: func(done, total int) { bar.Set(done, total, "") },
		Ask: []bmem.Option{bmem.WithTopK(f.system.topK), bmem.WithKeepK(f.system.keepK), bmem.WithRetrieval(f.system.spec.Retrieval)},
	})
	bar.End(err)
	if err != nil {
		return err
	}
	if err := tune.WriteExamples(f.out, examples); err != nil {
		return err
	}
	if f.asJSON {
		return writeJSON(cmd.OutOrStdout(), made)
	}
	out := cmd.OutOrStdout()
	fmt.Fprintf(out, "%s: %d examples of %d questions\n", f.out, len(examples), made.Questions)
	for _, v := range tune.Variants() {
		if n := made.Examples[v]; n > 0 {
			line := fmt.Sprintf("  %-12s %d", v, n)
			if s, ok := made.Evidence[v]; ok {
				line += fmt.Sprintf("; of the evidence %.3f is retrieved and %.3f quoted, all of it in %.3f of the %d examples with known evidence", s.Retrieved, s.Quoted, s.Whole, s.Examples)
			}
			fmt.Fprintln(out, line)
		}
	}
	fmt.Fprintf(out, "%d questions whose retrieved notes hold no evidence, %d without known evidence\n", made.Unseen, made.NoEvidence)
	return nil
}
