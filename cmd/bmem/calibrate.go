package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/budgetmem/budgetmem/experiments/calibrate"
	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/experiments/frontier"
	"github.com/budgetmem/budgetmem/internal/atomicfile"
	"github.com/budgetmem/budgetmem/router/cascade"
	"github.com/budgetmem/budgetmem/router/portable"
	"github.com/budgetmem/budgetmem/tiers"
)

func newCalibrateCmd() *cobra.Command {
	var f replayFlags
	var out, routerFile, note, unanswerable string
	var mostLost float64
	var signals []string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "calibrate",
		Short: "Fit, to traces, how good an answer is by what it shows of itself, and when a better model is worth asking",
		Long: `Fit, to traces, how good an answer is by what it shows of itself, and when a better model is worth asking.

For each way of answering, the signals of an answer (log-probabilities, agreement of samples, the evidence's margin …) are
combined by a regression on the training questions, and made an expected score by isotonic regression on the validation
questions. Without training questions, as where the readers were tuned on these, the validation questions do, by logistic
regression alone. Where the tier set routes the answer, the gain of asking each dearer tier too is fitted the same way.

The file gives answers a confidence (bmem ask --calibration FILE --min-confidence 0.4) and is a policy (--policy cascade:FILE@λ).
With --router it is put into a router's file, as its last decision.

With --unanswerable, traces of questions that the memory cannot answer, the probability that it answers one is fitted too
(bmem ask --min-answerable 0.7), and it says where to abstain: the highest least confidence, and the highest least probability, by which
the validation questions lose at most --most-lost of their mean score, and how many unanswerable ones are withheld. Each question
is judged by estimates that were fitted to other histories, where its id begins with one (HISTORY/QUESTION), else to other questions.`,
		Example: `  bmem calibrate --traces traces/locomo-readers --out calibration.json
  bmem calibrate --traces train.jsonl.gz --validation-traces validation.jsonl.gz --out calibration.json
  bmem calibrate --validation-traces validation.jsonl.gz --out calibration.json
  bmem calibrate --traces traces/locomo-answerable --unanswerable traces/locomo-answerable/unanswerable-validation.jsonl.gz --most-lost 0.02 --out calibration.json
  bmem calibrate --traces traces/locomo-readers --router router.safetensors --out cascading.safetensors`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.spread()
			train, validation := *f.files[splits[0]], *f.files[splits[1]]
			if !(mostLost >= 0) {
				return fmt.Errorf("--most-lost %v: must be at least 0", mostLost)
			}
			if validation == "" {
				return errors.New("give --validation-traces, and --traces if there are training questions, or --traces with their folder")
			}
			o := calibrate.Options{Signals: signals, Lambdas: frontier.DefaultLambdas(), Note: note}
			var err error
			if train != "" {
				o.Train, err = episodes.ReadSplit(train, splits[0])
			}
			if without := f.folder == filepath.Dir(train) && errors.Is(err, fs.ErrNotExist); err != nil && !without {
				return err // a folder may hold no training questions
			}
			if o.Validation, err = episodes.ReadSplit(validation, splits[1]); err != nil {
				return err
			}
			if o.Models, o.Samples, err = answering(o.Validation.Header); err != nil {
				return fmt.Errorf("%s: %w", validation, err)
			}
			if unanswerable != "" {
				if o.Unanswerable, err = episodes.ReadSplit(unanswerable, splits[1]); err != nil {
					return fmt.Errorf("--unanswerable: %w", err)
				}
			}
			c, err := calibrate.Fit(o)
			if errors.Is(err, cascade.ErrNoSignals) {
				return fmt.Errorf("%w: collect the traces with --answer-logprobs, or with a tier set that routes the answer", err)
			}
			if err != nil {
				return err
			}
			said := calibrated{Calibration: c}
			if unanswerable != "" {
				if said.Abstention, err = calibrate.AbstainHeldOut(o, mostLost); err != nil {
					return fmt.Errorf("--unanswerable %s: %w", unanswerable, err)
				}
			}
			file, err := c.Marshal()
			if err != nil {
				return err
			}
			if routerFile != "" {
				r, err := portable.ReadFile(routerFile)
				if err != nil {
					return fmt.Errorf("--router: %w", err)
				}
				if r, err = r.WithAnswers(c); err != nil {
					return fmt.Errorf("--router %s: %w", routerFile, err)
				}
				if file, err = r.Marshal(); err != nil {
					return err
				}
			}
			if err := atomicfile.WriteFile(out, file, 0o644); err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), said)
			}
			return said.write(cmd.OutOrStdout())
		},
	}
	f.files = map[string]*string{}
	flags := cmd.Flags()
	f.files[splits[0]] = flags.String("traces", "", "training questions: trace `file`, or the folder with those of all splits")
	f.files[splits[1]] = flags.String("validation-traces", "", "validation questions: trace `file`")
	flags.StringVar(&out, "out", "", "`file` to write")
	flags.StringVar(&routerFile, "router", "", "put the calibration into the router of this `file`, and write that to --out")
	flags.StringVar(&unanswerable, "unanswerable", "", "trace `file` of questions without an answer (--dataset locomo-unanswerable), to fit whether the memory answers, and find where to abstain")
	flags.Float64Var(&mostLost, "most-lost", 0.02, "most of the mean score that abstaining may lose where there is an answer")
	flags.StringSliceVar(&signals, "signals", nil, "`names` of the signals to use, joined by commas (each reader has those that its answers come with; default all that nine tenths of them have)")
	flags.StringVar(&note, "note", "", "how it was fitted, for people")
	flags.BoolVar(&asJSON, "json", false, "write the calibration to the output too, instead of the table")
	if err := cmd.MarkFlagRequired("out"); err != nil {
		panic(err) // the flag is defined above
	}
	return cmd
}

// answering returns the model and the number of samples of each way of answering of traces, by what their header says of the system.
func answering(h episodes.Header) (models []string, samples []int, err error) {
	model, _ := h.System["model"].(string)
	if model == "" {
		return nil, nil, errors.New("the traces do not say which model answered")
	}
	last := h.Space[len(h.Space)-1]
	if last.Name != tiers.Answering.String() {
		n, _ := h.System["answer_samples"].(float64)
		return []string{model}, []int{int(n)}, nil
	}
	axis, _ := h.System["axis"].(string)
	set, err := tiers.LoadSpec(axis)
	if err != nil {
		return nil, nil, fmt.Errorf("the tier set of the traces: %w", err)
	}
	if hash, _ := h.System["tiers"].(string); hash != set.Hash() {
		return nil, nil, fmt.Errorf("the tier set %s has changed since the traces were collected: it has the hash %s, theirs %s", axis, set.Hash(), hash)
	}
	roles, _ := h.System["roles"].(map[string]any)
	for _, tier := range last.Tiers {
		list := set.Modules[tiers.Answering.String()]
		at := slices.IndexFunc(list, func(t tiers.TierSpec) bool { return t.Tier == tier })
		if at < 0 {
			return nil, nil, fmt.Errorf("the tier set %s has no tier %q of the answer", axis, tier)
		}
		name := model
		if !list[at].AsksModel(tiers.Answering) {
			name = ""
		} else if role := list[at].Model; role != "" {
			of, _ := roles[role].(map[string]any)
			if name, _ = of["model"].(string); name == "" {
				return nil, nil, fmt.Errorf("the traces do not say which model has the role %q", role)
			}
		}
		models, samples = append(models, name), append(samples, list[at].Samples)
	}
	return models, samples, nil
}

// calibrated is a calibration with what abstaining by it does, for each tier of the answer.
type calibrated struct {
	*cascade.Calibration
	Abstention map[string][]calibrate.Abstention `json:"abstention,omitempty"`
}

func (c calibrated) write(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "%s, scored by %s\n", c.Dataset, c.Metric)
	fmt.Fprintln(w, "answer\tmodel\t$/answer\tscore\tcalibration error\tAUROC\tfitted to\tcalibrated on\tsignals")
	for _, r := range c.Readers {
		fmt.Fprintf(w, "%s\t%s\t%.3g\t%.4f\t%.3f\t%s\t%d\t%d\t%v\n", r.Tier, r.Model, r.Dollars, r.Measured.Score, r.Measured.CalibrationError, orDash(r.Measured.AUROC),
			r.Measured.Fitted, r.Measured.Calibrated, r.Score.Signals)
	}
	for i, p := range c.Points {
		label := ""
		if i == 0 {
			label = "cascade"
		}
		fmt.Fprintf(w, "%s\tλ %g: %v, $%.3g a question, score %.4f on validation\n", label, p.Lambda, p.Tiers, p.Dollars, p.Score)
	}
	for _, r := range c.Readers {
		for _, a := range c.Abstention[r.Tier] {
			writeAbstention(w, r.Tier, a)
		}
	}
	return w.Flush()
}
