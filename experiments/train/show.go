package train

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/budgetmem/budgetmem/experiments/run"
	"github.com/budgetmem/budgetmem/experiments/track"
	"github.com/budgetmem/budgetmem/router"
)

// Trackers show one step for each line of metrics.jsonl. The names follow cleanrl's:
//
//	train/*       score, return, lambda, scale (the reward's α), episodes, failed, updates, epoch; offline value and epoch
//	cost/dollars  of a question, in training
//	losses/*      the fields of router.Metrics about the update: policy_loss, value_loss, entropy, approx_kl, …
//	route/MODULE/TIER
//	              the share of the questions that requested the tier, in training
//	validation/*  at the last step of an epoch, means over the λs: value, score, dollars, predicted, route/MODULE/TIER;
//	              and lambda-X/score, /dollars and /return for each λ
//
// The summary has validation/best/value, validation/last/value, validation/best/epoch and, with test questions, the names of
// validation/* below test/best and test/last; the notes are the hashes of both routers.

// start starts the seed's run in the trackers.
func (s *seedRun) start() {
	config, recorded := map[string]any{}, s.recorded
	recorded.Config.Seed = s.seed
	data, err := json.Marshal(recorded)
	if err == nil {
		err = json.Unmarshal(data, &config)
	}
	if err != nil {
		panic(err) // they have been written to config.json
	}
	s.shown = s.trackers.Start(track.Run{Training: filepath.Base(s.Dir), Name: fmt.Sprintf("seed %d", s.seed), Dir: s.dir, Config: config, Commit: run.Commit()})
}

// show gives the trackers the new complete steps. The last step of an epoch is complete when the epoch's router is evaluated.
func (s *seedRun) show() error {
	if len(s.Trackers) == 0 {
		return nil
	}
	epochOf := func(i int) (int, error) {
		var at struct{ Epoch int }
		err := json.Unmarshal(s.metrics[i], &at)
		return at.Epoch, err
	}
	for ; s.steps < len(s.metrics); s.steps++ {
		epoch, err := epochOf(s.steps)
		if err != nil {
			return err
		}
		last := s.steps == len(s.metrics)-1
		if !last {
			next, err := epochOf(s.steps + 1)
			if err != nil {
				return err
			}
			last = next != epoch
		}
		if last && epoch >= len(s.epochs) {
			return nil
		}
		v, err := s.stepValues(s.metrics[s.steps])
		if err != nil {
			return err
		}
		if last {
			addEvaluation(v, "validation/", s.Train.Header().Space, s.epochs[epoch].Value, s.epochs[epoch].Points)
		}
		s.shown.Record(v)
	}
	return nil
}

// stepValues returns the values of a line of metrics.jsonl by their names in trackers.
func (s *seedRun) stepValues(line json.RawMessage) (map[string]float64, error) {
	if s.Settings.Method() == Offline {
		var m offlineStep
		err := json.Unmarshal(line, &m)
		return map[string]float64{"train/epoch": float64(m.Epoch), "train/value": m.Value}, err
	}
	var m router.Metrics
	if err := json.Unmarshal(line, &m); err != nil {
		return nil, err
	}
	v := map[string]float64{
		"train/score": m.Score, "train/return": m.Return, "train/lambda": m.Lambda, "train/scale": m.Scale, "train/episodes": float64(m.Episodes),
		"train/failed": float64(m.Failed), "train/updates": float64(m.Updates), "train/epoch": float64(m.Epoch), "cost/dollars": m.Dollars,
		"losses/policy_loss": m.PolicyLoss, "losses/value_loss": m.ValueLoss, "losses/entropy": m.Entropy, "losses/approx_kl": m.ApproxKL,
		"losses/clip_fraction": m.ClipFraction, "losses/grad_norm": m.GradNorm, "losses/explained_variance": m.ExplainedVariance,
		"losses/learning_rate": m.LearningRate, "losses/first_ratio_error": m.FirstRatioError,
	}
	addShares(v, "", s.Train.Header().Space, m.Shares, 1)
	return v, nil
}

// addEvaluation adds the values of a router's evaluation.
func addEvaluation(v map[string]float64, prefix string, space router.Space, value float64, points []Point) {
	v[prefix+"value"] = value
	n := float64(len(points))
	for _, p := range points {
		v[prefix+"score"] += p.Score / n
		v[prefix+"dollars"] += p.Dollars / n
		v[prefix+"predicted"] += p.Predicted / n
		addShares(v, prefix, space, p.Shares, 1/n)
		at := prefix + "lambda-" + strconv.FormatFloat(p.Lambda, 'g', 6, 64) + "/"
		v[at+"score"], v[at+"dollars"], v[at+"return"] = p.Score, p.Dollars, p.Return
	}
}

// addShares adds weighted shares of tiers.
func addShares(v map[string]float64, prefix string, space router.Space, shares [][]float64, weight float64) {
	for m, module := range space {
		for t, tier := range module.Tiers {
			v[prefix+"route/"+module.Name+"/"+tier] += weight * shares[m][t]
		}
	}
}

// end ends the seed's run in the trackers.
func (s *seedRun) end(ctx context.Context, out *Seed, err error) {
	switch {
	case ctx.Err() != nil:
		s.shown.End(track.Outcome{Status: track.Killed})
		return
	case err != nil:
		s.shown.End(track.Outcome{Status: track.Failed})
		return
	}
	o := track.Outcome{Status: track.Finished, Notes: map[string]string{}, Summary: map[string]float64{
		"validation/best/value": out.Epochs[out.BestEpoch-1].Value, "validation/best/epoch": float64(out.BestEpoch), "validation/last/value": out.Epochs[len(out.Epochs)-1].Value},
		Files: map[string]string{"config.json": filepath.Join(s.Dir, "config.json"), "metrics.jsonl": s.path("metrics.jsonl"), "epochs.jsonl": s.path("epochs.jsonl")}}
	for name, path := range out.Routers {
		o.Files[name+".safetensors"] = path
		o.Notes["sha256."+name] = out.Hashes[name]
	}
	for name, e := range out.Test {
		addEvaluation(o.Summary, "test/"+name+"/", s.Train.Header().Space, e.Value, e.Points)
	}
	s.shown.End(o)
}
