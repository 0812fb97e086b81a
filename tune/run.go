package tune

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"time"

	"github.com/gomlx/compute"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/budgetmem/budgetmem/internal/osmem"
	"github.com/budgetmem/budgetmem/internal/runfolder"
	"github.com/budgetmem/budgetmem/tiers/llm/local"
	"github.com/budgetmem/budgetmem/tiers/llm/local/adapter"
)

// Run is a training to start or resume.
type Run struct {
	// Dir is the run's folder; it is created if needed. A folder with a run of the same settings is resumed where it stopped.
	Dir string
	// Model is the base model's name and Path its GGUF file.
	Model, Path string
	Backend     compute.Backend
	Config      Config
	// From is an adapter to go on from, which must be of this model and of Config's shape; nil begins with the model's own answers.
	From *adapter.Adapter
	// Train are the examples to train on. Valid, which may be empty, are those that the best adapter is chosen by.
	Train, Valid []Example
	// Data describes the files of Train, Commit the program and License the data, for the adapter.
	Data            []adapter.Data
	Commit, License string
	// Progress, if not nil, is called after each step, and while hidden states are computed.
	Progress func(Progress)
}

// Progress is how far a run is.
type Progress struct {
	// Phase is "hidden" while the frozen layers are computed, Done and Total then counting tokens; "train", with steps; or
	// "done".
	Phase       string
	Done, Total int
	Step        Step // of phase "train"
	Seconds     float64
}

// Step is a line of metrics.jsonl. Losses are in nats.
type Step struct {
	Step     int `json:"step"` // from 1
	Epoch    int `json:"epoch"`
	Examples int `json:"examples"`
	Tokens   int `json:"tokens"` // of prompts and answers
	// Loss is the mean over the step's examples of each one's mean over its answer's tokens; TokenLoss is the mean over all
	// these tokens.
	Loss         float64 `json:"loss"`
	TokenLoss    float64 `json:"token_loss"`
	GradNorm     float64 `json:"grad_norm"` // before it was bounded
	LearningRate float64 `json:"learning_rate"`
	// The losses on the validation examples, where they were taken.
	ValidLoss      *float64 `json:"valid_loss,omitempty"`
	ValidTokenLoss *float64 `json:"valid_token_loss,omitempty"`
}

// Result is what a run came to.
type Result struct {
	Steps     int     `json:"steps"`
	Examples  int     `json:"examples"`
	Last      string  `json:"last"` // folder of the adapter after the last step
	Best      string  `json:"best,omitempty"`
	BestStep  int     `json:"best_step,omitempty"`
	BestLoss  float64 `json:"best_valid_loss,omitempty"`
	FirstLoss float64 `json:"first_valid_loss,omitempty"` // before the first step: of the base model, or of the adapter gone on from
}

// ErrLocked is wrapped when another process trains in the same folder.
var ErrLocked = runfolder.ErrLocked

// Start trains to the end. Cancelling ctx stops between two packs of examples; the same call then continues from the last
// checkpoint, and ends with the same bytes as a run that was not stopped.
func (r Run) Start(ctx context.Context) (Result, error) {
	res, err := r.start(ctx)
	if err != nil {
		return res, fmt.Errorf("tuning %s in %s: %w", r.Model, r.Dir, err)
	}
	return res, nil
}

func (r Run) start(ctx context.Context) (res Result, err error) {
	release, err := runfolder.Claim(r.Dir, "hidden", checkpointDir, lastDir, bestDir)
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, release()) }()
	t, err := r.open()
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	if err := t.restore(); err != nil {
		return res, err
	}
	if err := t.fillHidden(ctx); err != nil {
		return res, err
	}
	if err := t.loop(ctx); err != nil {
		return res, err
	}
	return t.result(), nil
}

// training is a run under way.
type training struct {
	Run
	base         *local.Base
	decoder      decoder
	programs     *programs
	matrices     *matrices
	train, valid *split
	at           state
}

// split is the examples of one kind with what the frozen layers make of them.
type split struct {
	*packer
	hidden *hidden // nil if there are no frozen layers
}

func (r Run) open() (*training, error) {
	if len(r.Train) == 0 {
		return nil, errors.New("no examples to train on")
	}
	for name, examples := range map[string][]Example{"train": r.Train, "valid": r.Valid} {
		if i := slices.IndexFunc(examples, func(e Example) bool { return e.Test }); i >= 0 {
			return nil, fmt.Errorf("%s example %d (%s) is a test question: train and validate on other splits", name, i+1, examples[i].ID)
		}
	}
	if w, ok := r.Backend.(interface{ Unwrap() compute.Backend }); ok {
		r.Backend = w.Unwrap() // tensors know the engine itself, and would take the wrapper for another one
	}
	t := &training{Run: r}
	var err error
	if t.base, err = local.OpenBase(r.Path, r.Backend); err != nil {
		return nil, err
	}
	if err := t.prepare(); err != nil {
		return nil, errors.Join(err, t.close())
	}
	osmem.GiveBack()
	return t, nil
}

func (t *training) prepare() error {
	c := &t.base.Config
	if err := t.Config.check(c); err != nil {
		return err
	}
	top := t.Config.Layers
	if top == 0 {
		top = c.Layers
	}
	keys, err := adapted(c, top, t.Config.Targets)
	if err != nil {
		return err
	}
	if err := t.checkFrom(keys); err != nil {
		return err
	}
	t.decoder = decoder{cfg: c, angles: t.base.RopeFrequencies, from: c.Layers - top, to: c.Layers, keys: keys, scale: t.Config.Alpha / float64(t.Config.Rank)}
	if t.programs, err = newPrograms(t.Backend, t.base, t.decoder); err != nil {
		return err
	}
	if t.train, err = t.split("train", t.Train); err != nil {
		return err
	}
	if len(t.Valid) > 0 {
		t.valid, err = t.split("valid", t.Valid)
	}
	return err
}

// split tokenizes examples.
func (t *training) split(name string, examples []Example) (*split, error) {
	seqs := make([]sequence, len(examples))
	for i, e := range examples {
		tokens, prompt, err := e.Tokenize(t.base, t.Config.Template)
		if err != nil {
			return nil, fmt.Errorf("%s example %d: %w", name, i+1, err)
		}
		seqs[i] = sequence{tokens, prompt}
	}
	p, err := newPacker(seqs, t.Config.PackTokens, t.base.Config.Context)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	s := &split{packer: p}
	if t.decoder.from > 0 {
		s.hidden, err = openHidden(filepath.Join(t.Dir, "hidden"), name, t.base, t.decoder.from, p)
	}
	return s, err
}

func (t *training) close() error {
	var errs []error
	for _, s := range []*split{t.train, t.valid} {
		if s != nil && s.hidden != nil {
			errs = append(errs, s.hidden.close())
		}
	}
	if t.matrices != nil {
		t.matrices.finalize()
	}
	if t.programs != nil {
		t.programs.finalize()
	}
	return errors.Join(append(errs, t.base.Close())...)
}

// fillHidden computes what the frozen layers give, and frees them.
func (t *training) fillHidden(ctx context.Context) error {
	if t.decoder.from == 0 {
		return nil
	}
	for _, s := range []*split{t.train, t.valid} {
		if s == nil {
			continue
		}
		start := time.Now()
		if err := s.hidden.fill(ctx, t.programs, s.packer, func(done, total int) {
			t.report(Progress{Phase: "hidden", Done: done, Total: total, Seconds: time.Since(start).Seconds()})
		}); err != nil {
			return err
		}
	}
	t.programs.freeFrozen()
	osmem.GiveBack()
	return nil
}

func (t *training) report(p Progress) {
	if t.Progress != nil {
		t.Progress(p)
	}
}

// loop makes the steps that are left.
func (t *training) loop(ctx context.Context) error {
	n := len(t.Train)
	steps, perEpoch := t.Config.steps(n), (n+t.Config.Batch-1)/t.Config.Batch
	start := time.Now()
	if t.at.Step == 0 && t.valid != nil && t.at.FirstLoss == 0 {
		loss, _, err := t.validate(ctx)
		if err != nil {
			return err
		}
		t.at.FirstLoss = loss
	}
	for t.at.Step < steps {
		epoch, at := t.at.Step/perEpoch, t.at.Step%perEpoch
		order := rand.New(rand.NewPCG(t.Config.Seed, 2+uint64(epoch))).Perm(n)
		members := order[at*t.Config.Batch : min(n, (at+1)*t.Config.Batch)]
		s, err := t.makeStep(ctx, members, t.Config.rate(t.at.Step, steps))
		if err != nil {
			return err
		}
		t.at.Step++
		s.Step, s.Epoch = t.at.Step, epoch
		last := t.at.Step == steps
		if t.valid != nil && (last || due(t.at.Step, t.Config.ValidateEvery)) {
			loss, token, err := t.validate(ctx)
			if err != nil {
				return err
			}
			s.ValidLoss, s.ValidTokenLoss = &loss, &token
		}
		t.at.Metrics = append(t.at.Metrics, s)
		if last || s.ValidLoss != nil || due(t.at.Step, t.Config.CheckpointEvery) {
			if err := t.save(s); err != nil {
				return err
			}
		}
		t.report(Progress{Phase: "train", Done: t.at.Step, Total: steps, Step: s, Seconds: time.Since(start).Seconds()})
	}
	return nil
}

func due(step, every int) bool { return every > 0 && step%every == 0 }

// makeStep sums the gradients of the examples and takes a step.
func (t *training) makeStep(ctx context.Context, members []int, rate float64) (Step, error) {
	s := Step{Examples: len(members), LearningRate: rate}
	grads := t.matrices.zeros()
	answers := 0
	for _, k := range t.train.batch(members) {
		if err := ctx.Err(); err != nil {
			return s, err
		}
		sums := []any{}
		for _, g := range grads {
			sums = append(sums, g)
		}
		out, err := t.call(t.train, k, len(members), sums)
		for _, g := range grads {
			g.FinalizeAll()
		}
		if err != nil {
			return s, err
		}
		grads = out[2:]
		s.Loss += scalar(out[0])
		s.TokenLoss += scalar(out[1])
		for _, i := range k.members {
			s.Tokens += len(t.train.seqs[i].tokens)
			answers += t.train.seqs[i].answer()
		}
	}
	s.TokenLoss /= float64(answers)
	var err error
	s.GradNorm, err = t.matrices.take(rate, grads)
	return s, err
}

// call runs the gradients of a pack, or without sums its losses.
func (t *training) call(s *split, k pack, n int, sums []any) ([]*tensors.Tensor, error) {
	x, err := s.vectors(t.programs, k)
	if err != nil {
		return nil, err
	}
	defer x.FinalizeAll()
	lora, err := t.matrices.values()
	if err != nil {
		return nil, err
	}
	in := append(append(t.programs.args(x, k, s.layout(k, n)), lora...), sums...)
	if sums == nil {
		return t.programs.losses.Call(in...)
	}
	return t.programs.gradients.Call(in...)
}

// vectors are the inputs of the adapted layers.
func (s *split) vectors(m *programs, k pack) (*tensors.Tensor, error) {
	if s.hidden == nil {
		return m.vectors(s.packer, k)
	}
	return s.hidden.read(k)
}

// validate returns the losses on the validation examples.
func (t *training) validate(ctx context.Context) (loss, token float64, err error) {
	all := make([]int, len(t.Valid))
	answers := 0
	for i := range all {
		all[i] = i
		answers += t.valid.seqs[i].answer()
	}
	for _, k := range t.valid.batch(all) {
		if err := ctx.Err(); err != nil {
			return 0, 0, err
		}
		out, err := t.call(t.valid, k, len(all), nil)
		if err != nil {
			return 0, 0, err
		}
		loss += scalar(out[0])
		token += scalar(out[1])
	}
	return loss, token / float64(answers), nil
}

// scalar takes a float32 out of a tensor and frees that.
func scalar(t *tensors.Tensor) float64 {
	defer t.FinalizeAll()
	return float64(tensors.ToScalar[float32](t))
}

func (t *training) result() Result {
	r := Result{Steps: t.at.Step, Last: filepath.Join(t.Dir, lastDir), BestStep: t.at.BestStep, BestLoss: t.at.BestLoss, FirstLoss: t.at.FirstLoss}
	for _, s := range t.at.Metrics {
		r.Examples += s.Examples
	}
	if t.at.BestStep > 0 {
		r.Best = filepath.Join(t.Dir, bestDir)
	}
	return r
}
