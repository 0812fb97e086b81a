package reranker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"

	"github.com/gomlx/compute"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // GoMLX's own habit: graph code reads as formulas
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/gomlx/gomlx/ml/model"

	"github.com/budgetmem/budgetmem/bmem/rerank"
	"github.com/budgetmem/budgetmem/internal/adamw"
	"github.com/budgetmem/budgetmem/internal/bert"
	"github.com/budgetmem/budgetmem/internal/runfolder"
)

// Config is what decides a training's result beside encoder and examples. Defaults returns good values.
type Config struct {
	// Layers is how many of the encoder's top layers are trained; its embeddings are not.
	Layers int `json:"layers"`
	// Questions of a step, and how many turns of each: its evidence, and turns without evidence that retrieval found, drawn by
	// their probability.
	Questions int `json:"questions"`
	Turns     int `json:"turns"`
	Epochs    int `json:"epochs"`
	// MaxSteps ends the training early, the learning rate falling sooner; 0 means no limit.
	MaxSteps int `json:"max_steps"`
	// The learning rate rises for Warmup steps and then falls linearly to 0.
	LearningRate    float64 `json:"learning_rate"`
	Warmup          int     `json:"warmup"`
	WeightDecay     float64 `json:"weight_decay"`
	MaxGradNorm     float64 `json:"max_grad_norm"`
	Seed            uint64  `json:"seed"`
	CheckpointEvery int     `json:"checkpoint_every"` // steps
}

// Defaults returns the default settings.
func Defaults() Config {
	return Config{Layers: 6, Questions: 8, Turns: 6, Epochs: 2, LearningRate: 1e-4, Warmup: 10, WeightDecay: 0.01, MaxGradNorm: 1, Seed: 42, CheckpointEvery: 20}
}

func (c Config) check(layers int) error {
	switch {
	case c.Layers < 1 || c.Layers > layers:
		return fmt.Errorf("layers %d: the encoder has %d", c.Layers, layers)
	case c.Questions < 1 || c.Turns < 2 || c.Epochs < 1:
		return fmt.Errorf("questions %d, turns %d, epochs %d: must be positive, turns at least 2", c.Questions, c.Turns, c.Epochs)
	case !(c.LearningRate > 0) || math.IsInf(c.LearningRate, 0) || !(c.WeightDecay >= 0) || !(c.MaxGradNorm > 0):
		return fmt.Errorf("learning rate %v, weight decay %v, gradient norm %v: must be positive, the decay may be 0", c.LearningRate, c.WeightDecay, c.MaxGradNorm)
	case c.MaxSteps < 0 || c.Warmup < 0 || c.CheckpointEvery < 0:
		return errors.New("numbers of steps must not be negative")
	}
	return nil
}

func (c Config) steps(n int) int {
	steps := c.Epochs * ((n + c.Questions - 1) / c.Questions)
	if c.MaxSteps > 0 {
		steps = min(steps, c.MaxSteps)
	}
	return steps
}

func (c Config) rate(step, steps int) float64 {
	r := 1 - float64(step)/float64(steps)
	if step < c.Warmup {
		r *= float64(step+1) / float64(c.Warmup)
	}
	return c.LearningRate * r
}

// Run is a training to start or resume.
type Run struct {
	// Dir is the run's folder. A folder with a run of the same settings is resumed where it stopped.
	Dir string
	// Encoder is the folder of the encoder to begin with, all-MiniLM-L6-v2.
	Encoder string
	Backend compute.Backend
	Config  Config
	Train   []Example
	// Progress, if not nil, is called after each step.
	Progress func(Step, int)
}

// Step is a line of metrics.jsonl.
type Step struct {
	Step int `json:"step"` // from 1
	// Loss is the mean over the questions of −ln of the share of the evidence that the model gives its turns, in nats; RetrievalLoss
	// is the same of retrieval alone.
	Loss          float64 `json:"loss"`
	RetrievalLoss float64 `json:"retrieval_loss"`
	GradNorm      float64 `json:"grad_norm"` // before it was bounded
	LearningRate  float64 `json:"learning_rate"`
}

// trainer is a training under way.
type trainer struct {
	Run
	bert    bert.Config
	tokens  *bert.Tokenizer
	first   bert.Tensor // the embedding of the first token type
	store   *model.Store
	count   int // of weights
	exec    *model.Exec
	metrics []Step
	// settingsText is what a checkpoint must have been made with.
	settingsText string
}

// Start trains to the end and returns the folder of the model, which rerank.Open reads. Cancelling ctx stops between two steps; the
// same call then continues from the last checkpoint, and ends with the same bytes as a run that was not stopped.
func (r Run) Start(ctx context.Context) (dir string, err error) {
	if err := r.start(ctx); err != nil {
		return "", fmt.Errorf("train a reranker in %s: %w", r.Dir, err)
	}
	return filepath.Join(r.Dir, modelDir), nil
}

func (r Run) start(ctx context.Context) (err error) {
	release, err := runfolder.Claim(r.Dir, modelDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	t, err := r.open()
	if err != nil {
		return err
	}
	defer t.close()
	return t.loop(ctx)
}

func (r Run) open() (*trainer, error) {
	r.Train = slices.DeleteFunc(slices.Clone(r.Train), func(e Example) bool { return !slices.Contains(e.Gold, true) || len(e.Turns) < 2 })
	if len(r.Train) == 0 {
		return nil, errors.New("no example whose evidence retrieval found")
	}
	if w, ok := r.Backend.(interface{ Unwrap() compute.Backend }); ok {
		r.Backend = w.Unwrap() // tensors know the engine itself
	}
	t := &trainer{Run: r, store: model.NewStore()}
	f, err := bert.Read(r.Encoder)
	if err != nil {
		return nil, fmt.Errorf("encoder %s: %w", r.Encoder, err)
	}
	t.bert, t.tokens = f.Config, f.Tokens
	if err := r.Config.check(t.bert.Layers); err != nil {
		return nil, err
	}
	weights, err := t.bert.PairWeights(f.Tensors)
	if err != nil {
		return nil, fmt.Errorf("encoder %s: model.safetensors: %w", r.Encoder, err)
	}
	t.first = t.bert.FirstType(f.Tensors)
	t.count = len(weights)
	if err := t.restore(weights, f.SHA256); err != nil {
		return nil, err
	}
	t.exec, err = model.NewExec(r.Backend, t.store, t.step)
	return t, err
}

func (t *trainer) close() {
	if t.exec != nil {
		t.exec.Finalize()
	}
	t.store.Finalize()
}

// headScale times its variable is the classifier's matrix. It begins at zero, while all else is trained already, and Adam's steps are
// of the size of the learning rate whatever the gradient: so the classifier learns as if its rate were so much higher.
const headScale = 10

// head is the place of the classifier's matrix among the weights.
func (t *trainer) head() int { return t.count - 2 }

// step is the program of one step of AdamW: the learning rate, a batch, the turns' log-odds by retrieval [questions, turns], and the
// share of the evidence that each has. It returns the loss and the gradients' norm.
//
// The loss is listwise: cross-entropy between the evidence and the softmax over a question's turns of log-odds plus score (Cao et
// al., 2007, in their case of one list of likelihoods).
func (t *trainer) step(scope *model.Scope, in []*Node) []*Node {
	rate, ids, lengths, firsts, offsets, share := in[0], in[1], in[2], in[3], in[4], in[5]
	g := rate.Graph()
	args := []*Node{ids, lengths, firsts}
	var trained []*Node
	for i := range t.count {
		v := t.store.GetVariable(path(i))
		node := v.NodeValue(g)
		if v.Trainable {
			trained = append(trained, node)
		}
		if i == t.head() {
			node = MulScalar(node, headScale)
		}
		args = append(args, node)
	}
	scores := Reshape(t.bert.Pairs(args), offsets.Shape().Dimensions...)
	logShare := LogSoftmax(Add(scores, offsets), -1)
	loss := DivScalar(Neg(ReduceAllSum(Mul(share, logShare))), float64(offsets.Shape().Dim(0)))

	norm := adamw.Config{LearningRate: t.Config.LearningRate, WeightDecay: t.Config.WeightDecay, MaxGradNorm: t.Config.MaxGradNorm}.
		Step(scope, rate, Gradient(loss, trained...))
	return []*Node{loss, norm}
}

func (t *trainer) loop(ctx context.Context) error {
	steps := t.Config.steps(len(t.Train))
	for n := len(t.metrics); n < steps; n++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		s, err := t.take(n, steps)
		if err != nil {
			return fmt.Errorf("step %d: %w", n+1, err)
		}
		t.metrics = append(t.metrics, s)
		if n+1 == steps || t.Config.CheckpointEvery > 0 && (n+1)%t.Config.CheckpointEvery == 0 {
			if err := t.save(); err != nil {
				return err
			}
		}
		if t.Progress != nil {
			t.Progress(s, steps)
		}
	}
	return t.write()
}

func (t *trainer) take(n, steps int) (Step, error) {
	rate := t.Config.rate(n, steps)
	b := t.batch(n)
	in := []any{float32(rate), tensors.FromFlatDataAndDimensions(b.ids, len(b.lengths), b.length), b.lengths, b.firsts,
		tensors.FromFlatDataAndDimensions(b.offsets, len(b.lengths)/t.Config.Turns, t.Config.Turns),
		tensors.FromFlatDataAndDimensions(b.share, len(b.lengths)/t.Config.Turns, t.Config.Turns)}
	out, err := t.exec.Call(in...)
	if err != nil {
		return Step{}, err
	}
	defer out[0].FinalizeAll()
	defer out[1].FinalizeAll()
	s := Step{Step: n + 1, Loss: float64(tensors.ToScalar[float32](out[0])), RetrievalLoss: b.loss,
		GradNorm: float64(tensors.ToScalar[float32](out[1])), LearningRate: rate}
	if math.IsNaN(s.Loss) || math.IsInf(s.Loss, 0) {
		return s, fmt.Errorf("the loss is %v; try a lower learning rate", s.Loss)
	}
	return s, nil
}

// batch is what one step is given.
type batch struct {
	ids, lengths, firsts []int32
	length               int
	offsets, share       []float32
	loss                 float64 // of retrieval alone
}

// hidden is the log-odds of a place without a turn.
const hidden = -1e9

// batch draws the turns of a step's questions. It depends on the seed and the step alone.
func (t *trainer) batch(n int) batch {
	c := t.Config
	perEpoch := (len(t.Train) + c.Questions - 1) / c.Questions
	order := rand.New(rand.NewPCG(c.Seed, uint64(n/perEpoch))).Perm(len(t.Train))
	rng := rand.New(rand.NewPCG(c.Seed^0x9e3779b97f4a7c15, uint64(n)))
	rows := make([]bert.Row, c.Questions*c.Turns)
	b := batch{offsets: make([]float32, len(rows)), share: make([]float32, len(rows))}
	for i := range b.offsets {
		b.offsets[i], rows[i] = hidden, bert.Row{IDs: []int{t.tokens.CLS}, First: 1}
	}
	for q := range c.Questions {
		// The last batch of an epoch begins the epoch's questions over.
		e := t.Train[order[(n%perEpoch*c.Questions+q)%len(order)]]
		at := q * c.Turns
		turns, gold := draw(e, c.Turns, rng)
		sum, top := 0.0, 0.0
		for i, j := range turns {
			rows[at+i] = rerank.Pair(t.tokens, e.Question, e.Turns[j])
			b.offsets[at+i] = float32(e.LogOdds[j])
			sum += math.Exp(e.LogOdds[j])
			if i < gold {
				b.share[at+i] = 1 / float32(gold)
				top += e.LogOdds[j] / float64(gold)
			}
		}
		b.loss += (math.Log(sum) - top) / float64(c.Questions)
	}
	longest := 0
	for _, r := range rows {
		longest = max(longest, len(r.IDs))
	}
	b.length = (longest + 31) / 32 * 32 // few lengths mean few programs
	b.ids, b.lengths, b.firsts = bert.Batch{Rows: rows, Size: len(rows), Length: b.length}.Inputs()
	return b
}

// draw chooses at most n of an example's turns: its evidence first, which leaves room for one other turn, then others, drawn without
// replacement by their odds, the likelier the more often (Efraimidis and Spirakis, 2006). gold is how many are evidence.
func draw(e Example, n int, rng *rand.Rand) (turns []int, gold int) {
	var others []int
	keys := make([]float64, len(e.Turns))
	for j, isGold := range e.Gold {
		keys[j] = math.Log(rng.Float64()) / math.Exp(e.LogOdds[j]/2)
		if isGold && len(turns) < n-1 {
			turns = append(turns, j)
		} else if !isGold {
			others = append(others, j)
		}
	}
	gold = len(turns)
	slices.SortFunc(others, func(a, b int) int {
		switch {
		case keys[a] > keys[b]:
			return -1
		case keys[a] < keys[b]:
			return 1
		}
		return 0
	})
	return append(turns, others[:min(len(others), n-gold)]...), gold
}
