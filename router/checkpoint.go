package router

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"

	"github.com/gomlx/compute"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/budgetmem/budgetmem/internal/atomicfile"
	"github.com/budgetmem/budgetmem/internal/safetensors"
)

// What a checkpoint says of itself among the metadata of its safetensors.
const (
	checkpointFormat  = "budgetmem-router-training"
	checkpointVersion = 2
)

// windowPrefix is before the names of the reward's windows, which lie beside the store's variables.
const windowPrefix = "reward"

// checkpoint is the JSON in a checkpoint's metadata.
type checkpoint struct {
	Shape     Shape    `json:"shape"`
	Config    Config   `json:"config"`
	Questions int      `json:"questions"` // of the environment
	Progress  progress `json:"progress"`
}

// Save writes all that the rest of the training depends on to a file: weights, Adam's moments, the reward's windows and how
// far the training is. Chance needs no state: it is drawn anew from the seed for every episode. A crash leaves the old file
// or the new one. Equal trainings write equal bytes.
func (t *Trainer) Save(path string) error {
	fail := func(err error) error { return fmt.Errorf("save training to %s: %w", path, err) }
	meta, err := json.Marshal(checkpoint{t.net.shape, t.resultConfig(), t.env.Len(), t.at})
	if err != nil {
		return fail(err)
	}
	f := safetensors.File{
		Metadata: map[string]string{"format": checkpointFormat, "version": strconv.Itoa(checkpointVersion), "training": string(meta)},
		Tensors:  map[string]safetensors.Tensor{},
	}
	if err := t.ppo.learner.save(f, t.cfg.LearningRate); err != nil {
		return fail(err)
	}
	for name, window := range t.reward.windows() {
		f.Tensors[windowPrefix+name] = safetensors.FromFloat64(*window, len(*window))
	}
	out, err := f.Marshal()
	if err != nil {
		return fail(err)
	}
	return atomicfile.WriteFile(path, out, 0o644)
}

// resultConfig is the configuration without what changes no result.
func (t *Trainer) resultConfig() Config {
	c := t.cfg
	c.InFlight = 0
	return c
}

// windows names what a reward remembers.
func (r *Reward) windows() map[string]*[]float64 {
	return map[string]*[]float64{"/costs": &r.costs, "/scores": &r.scores, "/efficiencies": &r.efficiencies}
}

// Restore takes up a training where Save left it. The trainer must have been made with the same shape, settings and number of
// questions; if the file is of another training, or damaged, nothing is changed.
func (t *Trainer) Restore(path string) error {
	fail := func(err error) error { return fmt.Errorf("restore training from %s: %w", path, err) }
	f, meta, err := readCheckpoint(path)
	if err != nil {
		return fail(err)
	}
	want := checkpoint{t.net.shape, t.resultConfig(), t.env.Len(), meta.Progress}
	if !meta.Shape.equal(want.Shape) || meta.Config != want.Config || meta.Questions != want.Questions {
		got, _ := json.Marshal(meta)
		asked, _ := json.Marshal(want)
		return fail(fmt.Errorf("it is of another training: %s, this one is %s", got, asked))
	}
	reward := NewReward(t.cfg.Align)
	windows := reward.windows()
	for name, window := range windows {
		if *window, err = f.Tensors[windowPrefix+name].Float64(); err != nil {
			return fail(fmt.Errorf("%s: %w", windowPrefix+name, err))
		}
	}
	if err := t.ppo.learner.restore(f, t.net); err != nil {
		return fail(err)
	}
	reward.percentiles()
	reward.alignment()
	*t.reward, t.at = *reward, meta.Progress
	return nil
}

// LoadNetwork reads the network out of a training's checkpoint, to use or export it; λ is the range that it was trained for.
func LoadNetwork(be compute.Backend, path string) (*Network, Config, error) {
	fail := func(err error) (*Network, Config, error) {
		return nil, Config{}, fmt.Errorf("load router from %s: %w", path, err)
	}
	f, meta, err := readCheckpoint(path)
	if err != nil {
		return fail(err)
	}
	n, err := NewNetwork(be, meta.Shape, Init{ActorGain: 1, CriticGain: 1})
	if err != nil {
		return fail(err)
	}
	if err := n.restore(f); err != nil {
		n.Close()
		return fail(err)
	}
	return n, meta.Config, nil
}

func readCheckpoint(path string) (f safetensors.File, meta checkpoint, err error) {
	file, err := os.ReadFile(path)
	if err != nil {
		return f, meta, err
	}
	if f, err = safetensors.Parse(file); err != nil {
		return f, meta, err
	}
	if got := f.Metadata["format"]; got != checkpointFormat {
		return f, meta, fmt.Errorf("it is %q, not a training's checkpoint (%s)", got, checkpointFormat)
	}
	if got := f.Metadata["version"]; got != strconv.Itoa(checkpointVersion) {
		return f, meta, fmt.Errorf("it has version %q, this program reads %d", got, checkpointVersion)
	}
	if err = json.Unmarshal([]byte(f.Metadata["training"]), &meta); err != nil {
		return f, meta, fmt.Errorf("metadata \"training\": %w", err)
	}
	return f, meta, nil
}

// Names of what belongs to Adam, as GoMLX's optimizer has them.
const (
	adamSteps    = "/AdamOptimizer/step"
	adamPrefix   = "/AdamOptimizer" // before a weight's path
	firstMoment  = "_1st_moment"    // after it
	secondMoment = "_2nd_moment"
	globalStep   = "/global_step"
	learningRate = "/optimizers/learning_rate"
)

// save adds weights and Adam's state to a file.
func (l *Learner) save(f safetensors.File, rate float64) error {
	f.Tensors[learningRate] = safetensors.FromFloat32([]float32{float32(rate)})
	if l.steps > 0 {
		f.Tensors[adamSteps] = safetensors.FromFloat32([]float32{float32(l.steps)})
		f.Tensors[globalStep] = safetensors.FromInt64([]int64{int64(l.steps)})
	}
	for _, w := range l.weights {
		value, err := w.Value()
		if err != nil {
			return err
		}
		values, err := tensors.CopyFlatData[float32](value)
		if err != nil {
			return fmt.Errorf("%s: %w", w.Path(), err)
		}
		dims := w.Shape().Dimensions
		f.Tensors[w.Path()] = safetensors.FromFloat32(values, dims...)
		if l.steps > 0 {
			f.Tensors[adamPrefix+w.Path()+firstMoment] = safetensors.FromFloat32(w.first, dims...)
			f.Tensors[adamPrefix+w.Path()+secondMoment] = safetensors.FromFloat32(w.second, dims...)
		}
	}
	return nil
}

// restore takes over weights and Adam's state from a file. It checks all before it changes any.
func (l *Learner) restore(f safetensors.File, net *Network) error {
	steps := 0
	var first, second [][]float32
	if t, ok := f.Tensors[adamSteps]; ok {
		value, err := t.Float32()
		if err == nil && len(value) != 1 {
			err = fmt.Errorf("it has %d numbers, not one", len(value))
		}
		if err != nil {
			return fmt.Errorf("%s: %w", adamSteps, err)
		}
		steps = int(value[0])
		if first, err = net.read(f, adamPrefix, firstMoment); err != nil {
			return err
		}
		if second, err = net.read(f, adamPrefix, secondMoment); err != nil {
			return err
		}
	}
	if err := net.restore(f); err != nil {
		return err
	}
	l.steps = steps
	for i := range l.weights {
		w := &l.weights[i]
		if steps == 0 {
			clear(w.first)
			clear(w.second)
		} else {
			w.first, w.second = first[i], second[i]
		}
	}
	return nil
}

// restore takes over the weights of a file. It checks all before it changes any.
func (n *Network) restore(f safetensors.File) error {
	values, err := n.read(f, "", "")
	if err != nil {
		return err
	}
	i := 0
	for v := range n.store.IterVariables() {
		if err := v.SetValue(tensors.FromFlatDataAndDimensions(values[i], v.Shape().Dimensions...)); err != nil {
			return err
		}
		i++
	}
	return nil
}

// read returns what a file has under the paths of the weights, in the order of the store, with something before and after them.
func (n *Network) read(f safetensors.File, before, after string) (all [][]float32, err error) {
	for v := range n.store.IterVariables() {
		path := before + v.Path() + after
		t, ok := f.Tensors[path]
		if !ok {
			return nil, fmt.Errorf("%s is missing", path)
		}
		if !slices.Equal(t.Shape, v.Shape().Dimensions) {
			return nil, fmt.Errorf("%s has shape %v, the network's is %v", path, t.Shape, v.Shape().Dimensions)
		}
		values, err := t.Float32()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		all = append(all, values)
	}
	return all, nil
}
