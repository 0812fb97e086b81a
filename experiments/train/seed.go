package train

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/budgetmem/budgetmem/experiments/frontier"
	"github.com/budgetmem/budgetmem/experiments/track"
	"github.com/budgetmem/budgetmem/internal/atomicfile"
	"github.com/budgetmem/budgetmem/internal/private"
	"github.com/budgetmem/budgetmem/router"
	"github.com/budgetmem/budgetmem/router/offline"
	"github.com/budgetmem/budgetmem/router/portable"
)

// Epoch is the evaluation of an epoch's router on validation.
type Epoch struct {
	Epoch int `json:"epoch"` // counted from 1
	// Value is the mean return over the λs, which training maximises.
	Value  float64 `json:"value"`
	Points []Point `json:"points"`
}

// Point is a router at a λ, with its mean return, score and dollars per question.
type Point struct {
	Lambda float64 `json:"lambda"`
	frontier.CostScore
	Return float64 `json:"return"`
	// Shares[m][t] is the share of the questions that requested tier t of module m.
	Shares [][]float64 `json:"shares"`
	// Predicted is the share of outcomes that were not traced and are predicted.
	Predicted float64 `json:"predicted,omitempty"`
}

// offlineStep is a line of metrics.jsonl in offline learning.
type offlineStep struct {
	Epoch int `json:"epoch"` // counted from 0, as in router.Metrics
	// Value is the mean expected return on the training traces.
	Value float64 `json:"value"`
}

// seedRun is the training of one seed.
type seedRun struct {
	*training
	seed    int64
	dir     string
	epochs  []Epoch
	metrics []json.RawMessage
	shown   *track.Recorder
	steps   int // number of metrics that were given to the trackers
}

// saveEvery is how often PPO's state is saved within an epoch; at an epoch's end it always is.
const saveEvery = 5 * time.Second

// runSeed trains one seed, resuming where an earlier start stopped, and evaluates it.
func (t *training) runSeed(ctx context.Context, seed int64) (*Seed, error) {
	s := &seedRun{training: t, seed: seed, dir: filepath.Join(t.Dir, fmt.Sprintf("seed-%d", seed))}
	checkpoints := s.path("checkpoints")
	if err := errors.Join(private.Dir(checkpoints), atomicfile.RemoveTemporary(s.dir), atomicfile.RemoveTemporary(checkpoints)); err != nil {
		return nil, err
	}
	s.start()
	out, err := s.run(ctx)
	s.end(ctx, out, err)
	return out, err
}

func (s *seedRun) run(ctx context.Context) (*Seed, error) {
	var err error
	if s.metrics, err = readLines(s.path("metrics.jsonl")); err != nil {
		return nil, err
	}
	lines, err := readLines(s.path("epochs.jsonl"))
	if err != nil {
		return nil, err
	}
	for i, l := range lines {
		var e Epoch
		if err := json.Unmarshal(l, &e); err != nil || e.Epoch != i+1 {
			return nil, fmt.Errorf("%s:%d: not the evaluation of epoch %d: %w; remove the file to evaluate the epochs again", s.path("epochs.jsonl"), i+1, i+1, err)
		}
		s.epochs = append(s.epochs, e)
	}
	if len(s.epochs) < s.Settings.Config().Epochs {
		if s.Settings.Method() == Offline {
			err = s.offline(ctx)
		} else {
			err = s.ppo(ctx)
		}
		if err != nil {
			return nil, err
		}
	}
	return s.finish(ctx)
}

func (s *seedRun) path(name string) string { return filepath.Join(s.dir, name) }

func (s *seedRun) checkpoint(epoch int) string {
	return s.path(fmt.Sprintf("checkpoints/epoch-%03d.safetensors", epoch))
}

func (s *seedRun) offline(ctx context.Context) error {
	cfg := s.Settings.config
	cfg.Seed = s.seed
	f, _ := s.Train.Snapshot()
	if err := f.Usable(); err != nil {
		return fmt.Errorf("offline learning needs traces, collect some or train by %s: %w", PPO, err)
	}
	s.metrics = nil
	if missing := offline.GainOf(f.Episodes).Missing(); missing != "" && s.Warn != nil {
		s.Warn("warning: " + missing)
	}
	net, _, err := offline.Learn(ctx, s.Backend, f.Episodes, offline.Options{Shape: f.Shape(), Config: cfg, AfterEpoch: func(epoch int, n *router.Network, value float64) error {
		r, err := n.Portable(cfg.Lambdas())
		if err != nil {
			return err
		}
		if err := s.addMetrics(offlineStep{epoch, value}); err != nil {
			return err
		}
		if err := s.writeMetrics(); err != nil {
			return err
		}
		return s.epoch(ctx, epoch+1, r)
	}})
	if err != nil {
		return err
	}
	net.Close()
	return nil
}

// ppo trains by PPO. The order of writes makes a kill harmless: a state after an epoch is written after the epoch's router, and
// metrics and traces are written before the state that includes them.
func (s *seedRun) ppo(ctx context.Context) error {
	cfg := *s.Settings.Config()
	cfg.Seed = s.seed
	shape := s.Train.Header().Shape()
	t, err := router.NewTrainer(s.Backend, s.Train, shape, cfg)
	if err != nil {
		return err
	}
	defer t.Close()
	if s.Settings.Method() != Paper {
		// The reward knows the range of costs from the first step on, instead of observing it on the way.
		*t.Reward() = *s.reward.Clone()
	}
	state := s.path("state.safetensors")
	switch _, err := os.Stat(state); {
	case err == nil:
		if err := t.Restore(state); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	epochs, batches := t.At()
	if err := s.truncateMetrics(epochs, batches); err != nil {
		return err
	}
	// Epochs that ended right before a kill have a router and no evaluation yet.
	for epoch := len(s.epochs) + 1; epoch <= epochs; epoch++ {
		r, err := portable.ReadFile(s.checkpoint(epoch))
		if err != nil {
			return err
		}
		if err := s.epoch(ctx, epoch, r); err != nil {
			return err
		}
	}
	save := func() error {
		if err := errors.Join(s.writeMetrics(), s.saveTraces()); err != nil {
			return err
		}
		return t.Save(state)
	}
	saved := time.Now()
	for !t.Done() {
		m, err := t.Step(ctx)
		if err != nil {
			return err
		}
		if err := s.addMetrics(m); err != nil {
			return err
		}
		s.report(Progress{Metrics: &m})
		switch epochs, batches := t.At(); {
		case batches == 0:
			r, err := t.Portable()
			if err != nil {
				return err
			}
			if err := s.writeRouter(s.checkpoint(epochs), r); err != nil {
				return err
			}
			if err := save(); err != nil {
				return err
			}
			saved = time.Now()
			if err := s.epoch(ctx, epochs, r); err != nil {
				return err
			}
		case time.Since(saved) > saveEvery:
			if err := save(); err != nil {
				return err
			}
			saved = time.Now()
		}
	}
	return nil
}

// truncateMetrics drops the metrics of steps after the saved state, which will be done again.
func (s *seedRun) truncateMetrics(epoch, batch int) error {
	for i, line := range s.metrics {
		var at struct{ Epoch, Batch int }
		if err := json.Unmarshal(line, &at); err != nil {
			return fmt.Errorf("%s:%d: %w", s.path("metrics.jsonl"), i+1, err)
		}
		if at.Epoch > epoch || at.Epoch == epoch && at.Batch >= batch {
			s.metrics = s.metrics[:i]
			break
		}
	}
	return nil
}

// epoch writes and evaluates the router of an epoch, unless that is done.
func (s *seedRun) epoch(ctx context.Context, epoch int, r *portable.Router) error {
	if err := s.writeRouter(s.checkpoint(epoch), r); err != nil {
		return err
	}
	if epoch <= len(s.epochs) {
		return nil
	}
	points, value, err := s.evaluate(ctx, "validation", r)
	if err != nil {
		return err
	}
	e := Epoch{epoch, value, points}
	s.epochs = append(s.epochs, e)
	if err := errors.Join(s.writeBest(), s.saveTraces()); err != nil {
		return err
	}
	var lines []json.RawMessage
	for _, e := range s.epochs {
		line, err := json.Marshal(e)
		if err != nil {
			return err
		}
		lines = append(lines, line)
	}
	if err := writeLines(s.path("epochs.jsonl"), lines); err != nil {
		return err
	}
	s.report(Progress{Validation: &e})
	return s.show()
}

func (s *seedRun) report(p Progress) {
	if s.Progress != nil {
		p.Seed, p.Epoch, p.Epochs = s.seed, len(s.epochs), s.Settings.Config().Epochs
		s.Progress(p)
	}
}

// best is the epoch with the largest value; of equal ones the first.
func (s *seedRun) best() Epoch {
	best := s.epochs[0]
	for _, e := range s.epochs {
		if e.Value > best.Value {
			best = e
		}
	}
	return best
}

// writeBest copies the best and the last router so far.
func (s *seedRun) writeBest() error {
	for name, epoch := range map[string]int{"best": s.best().Epoch, "last": len(s.epochs)} {
		data, err := os.ReadFile(s.checkpoint(epoch))
		if err != nil {
			return err
		}
		if err := atomicfile.WriteFile(s.path("checkpoints/"+name+".safetensors"), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// evaluate evaluates a router at every λ.
func (s *seedRun) evaluate(ctx context.Context, split string, r *portable.Router) (points []Point, value float64, err error) {
	env := s.Validation
	if split == "test" {
		env = s.Test
	}
	for _, lambda := range s.Lambdas {
		p, err := router.NewLearned(r, env.Header().Space, lambda)
		if err != nil {
			return nil, 0, err
		}
		evaluation, err := frontier.Evaluate(ctx, env, p, s.InFlight)
		if err != nil {
			return nil, 0, fmt.Errorf("evaluate on %s: %w", split, err)
		}
		pt := Point{Lambda: lambda, CostScore: evaluation.Mean(), Return: evaluation.Return(s.reward, lambda), Shares: evaluation.Shares(env.Header().Space), Predicted: evaluation.Counts.Share()}
		points = append(points, pt)
		value += pt.Return / float64(len(s.Lambdas))
	}
	return points, value, nil
}

// finish evaluates best and last on test.
func (s *seedRun) finish(ctx context.Context) (*Seed, error) {
	if err := errors.Join(s.writeBest(), s.show()); err != nil {
		return nil, err
	}
	out := &Seed{Seed: s.seed, Epochs: s.epochs, BestEpoch: s.best().Epoch, Hashes: map[string]string{}, Routers: map[string]string{}, Metrics: s.metrics}
	for _, name := range []string{"best", "last"} {
		path := s.path("checkpoints/" + name + ".safetensors")
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		out.Hashes[name], out.Routers[name] = hashOf(string(data)), path
		if s.Test == nil {
			continue
		}
		r, err := portable.Parse(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		points, value, err := s.evaluate(ctx, "test", r)
		if err != nil {
			return nil, err
		}
		if out.Test == nil {
			out.Test = map[string]Evaluation{}
		}
		out.Test[name] = Evaluation{value, points}
	}
	return out, nil
}

func (s *seedRun) writeRouter(path string, r *portable.Router) error {
	h := s.Train.Header()
	r, err := r.WithInfo(nil, fmt.Sprintf("trained by %s on %s %s, %s, seed %d", s.Settings.Method(), h.Dataset, h.Split, h.Metric, s.seed))
	if err != nil {
		return err
	}
	data, err := r.Marshal()
	if err != nil {
		return err
	}
	if was, err := os.ReadFile(path); err == nil && bytes.Equal(was, data) {
		return nil
	}
	return atomicfile.WriteFile(path, data, 0o644)
}

func (s *seedRun) addMetrics(v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("record a step: %w", err)
	}
	s.metrics = append(s.metrics, line)
	return s.show()
}

func (s *seedRun) writeMetrics() error { return writeLines(s.path("metrics.jsonl"), s.metrics) }
