package router

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/gomlx/gomlx/ml/model"

	"github.com/budgetmem/budgetmem/internal/atomicfile"
	"github.com/budgetmem/budgetmem/internal/safetensors"
)

// How a checkpoint identifies itself in the metadata of its safetensors.
const (
	checkpointFormat = "budgetmem-router-training"
	// Checkpoints of routers that look at signals have version 3, others version 2. Both are read.
	checkpointVersion        = 2
	checkpointSignalsVersion = 3
)

// windowPrefix begins the names of the reward's windows, which lie beside the variables of the store.
const windowPrefix = "reward"

// checkpoint is the JSON in a checkpoint's metadata.
type checkpoint struct {
	Shape     Shape    `json:"shape"`
	Config    Config   `json:"config"`
	Questions int      `json:"questions"` // number in the environment
	Progress  progress `json:"progress"`
}

// Save writes everything that the rest of the training depends on to a file: the weights, the optimizer's moments, the reward's
// windows and the progress. Random numbers need no state, as those of every episode are derived from the seed. The file is
// replaced in whole or not at all. Equal trainings write equal bytes. A file that cannot be written is an error that names it.
func (t *Trainer) Save(path string) error {
	fail := func(err error) error { return fmt.Errorf("save training to %s: %w", path, err) }
	meta, err := json.Marshal(checkpoint{t.net.shape, t.resultConfig(), t.env.Len(), t.at})
	if err != nil {
		return fail(err)
	}
	version := checkpointVersion
	if len(t.net.shape.Signals) > 0 {
		version = checkpointSignalsVersion
	}
	f := safetensors.File{
		Metadata: map[string]string{"format": checkpointFormat, "version": strconv.Itoa(version), "training": string(meta)},
		Tensors:  map[string]safetensors.Tensor{},
	}
	if err := t.net.save(f); err != nil {
		return fail(err)
	}
	for name, window := range t.reward.windows() {
		f.Tensors[windowPrefix+name] = safetensors.FromFloat64(*window, len(*window))
	}
	f.Seal()
	out, err := f.Marshal()
	if err != nil {
		return fail(err)
	}
	return atomicfile.WriteFile(path, out, 0o644)
}

// resultConfig is the configuration without the settings that change no result.
func (t *Trainer) resultConfig() Config {
	c := t.cfg
	c.InFlight = 0
	return c
}

// windows returns the windows of past outcomes by name.
func (r *Reward) windows() map[string]*[]float64 {
	return map[string]*[]float64{"/costs": &r.costs, "/scores": &r.scores, "/efficiencies": &r.efficiencies}
}

// Restore continues a training where Save left it. The trainer must have been made with the same shape, settings and number of
// questions. A missing file is an error that wraps fs.ErrNotExist. After an error about a damaged file, or one of another
// training, the trainer is as it was.
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
		return fail(fmt.Errorf("it belongs to another training: %s, this one is %s", got, asked))
	}
	reward := NewReward(t.cfg.Align)
	windows := reward.windows()
	for name, window := range windows {
		if *window, err = f.Tensors[windowPrefix+name].Float64(); err != nil {
			return fail(fmt.Errorf("%s: %w", windowPrefix+name, err))
		}
	}
	weights, err := t.net.read(f)
	if err != nil {
		return fail(err)
	}
	optimizer, err := readOptimizer(f)
	if err != nil {
		return fail(err)
	}
	ppo, err := newPPO(t.net, t.cfg)
	if err != nil {
		return fail(err)
	}
	if err := errors.Join(t.net.setWeights(weights), t.net.setOptimizer(optimizer)); err != nil {
		return fail(err)
	}
	t.ppo.learner.Close()
	t.ppo = ppo
	reward.percentiles()
	reward.alignment()
	*t.reward, t.at = *reward, meta.Progress
	return nil
}

// LoadNetwork reads the network from a training's checkpoint, and the settings that it was trained with. The caller closes the
// network. A missing file is an error that wraps fs.ErrNotExist; a damaged file, or one of another kind or version, is an error
// too.
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
	if got := f.Metadata["version"]; got != strconv.Itoa(checkpointVersion) && got != strconv.Itoa(checkpointSignalsVersion) {
		return f, meta, fmt.Errorf("it has version %q, this program reads %d and %d", got, checkpointVersion, checkpointSignalsVersion)
	}
	if err = json.Unmarshal([]byte(f.Metadata["training"]), &meta); err != nil {
		return f, meta, fmt.Errorf("metadata \"training\": %w", err)
	}
	return f, meta, nil
}

// save adds all variables of the network's store, those of the optimizer included, to a file.
func (n *Network) save(f safetensors.File) error {
	for v := range n.store.IterVariables() {
		t, err := fromVariable(v)
		if err != nil {
			return fmt.Errorf("%s: %w", v.Path(), err)
		}
		f.Tensors[v.Path()] = t
	}
	return nil
}

func fromVariable(v *model.Variable) (safetensors.Tensor, error) {
	value, err := v.Value()
	if err != nil {
		return safetensors.Tensor{}, err
	}
	dims := v.Shape().Dimensions
	if v.DType() == dtypes.Int64 {
		values, err := tensors.CopyFlatData[int64](value)
		return safetensors.FromInt64(values, dims...), err
	}
	values, err := tensors.CopyFlatData[float32](value)
	return safetensors.FromFloat32(values, dims...), err
}

func toTensor(t safetensors.Tensor) (*tensors.Tensor, error) {
	if t.DType == safetensors.I64 {
		values, err := t.Int64()
		if err != nil {
			return nil, err
		}
		return tensors.FromFlatDataAndDimensions(values, t.Shape...), nil
	}
	values, err := t.Float32()
	if err != nil {
		return nil, err
	}
	return tensors.FromFlatDataAndDimensions(values, t.Shape...), nil
}

// restore sets the weights to those of a file. It checks all before it changes any.
func (n *Network) restore(f safetensors.File) error {
	values, err := n.read(f)
	if err != nil {
		return err
	}
	return n.setWeights(values)
}

// read returns the weights of a file, in the order of the store.
func (n *Network) read(f safetensors.File) (all []*tensors.Tensor, err error) {
	for v := range n.weights() {
		t, ok := f.Tensors[v.Path()]
		if !ok {
			return nil, fmt.Errorf("%s is missing", v.Path())
		}
		if !slices.Equal(t.Shape, v.Shape().Dimensions) {
			return nil, fmt.Errorf("%s has shape %v, the network's is %v", v.Path(), t.Shape, v.Shape().Dimensions)
		}
		value, err := toTensor(t)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", v.Path(), err)
		}
		all = append(all, value)
	}
	return all, nil
}

func (n *Network) setWeights(values []*tensors.Tensor) error {
	i := 0
	for v := range n.weights() {
		if err := v.SetValue(values[i]); err != nil {
			return fmt.Errorf("%s: %w", v.Path(), err)
		}
		i++
	}
	return nil
}

// readOptimizer returns what the optimizer keeps beside the weights, by path: moments, step and learning rate.
func readOptimizer(f safetensors.File) (map[string]*tensors.Tensor, error) {
	values := map[string]*tensors.Tensor{}
	for path, t := range f.Tensors {
		if strings.HasPrefix(path, root) || strings.HasPrefix(path, windowPrefix) {
			continue
		}
		var err error
		if values[path], err = toTensor(t); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return values, nil
}

// setOptimizer replaces everything that the optimizer keeps. Graphs that were compiled before must not be used afterwards.
func (n *Network) setOptimizer(values map[string]*tensors.Tensor) error {
	for _, v := range slices.Collect(n.store.IterVariables()) {
		if !strings.HasPrefix(v.Path(), root) {
			if err := n.store.DeleteVariable(v.Path()); err != nil {
				return fmt.Errorf("%s: %w", v.Path(), err)
			}
		}
	}
	for _, path := range slices.Sorted(maps.Keys(values)) {
		v, err := n.store.CreateVariable(path, values[path])
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		v.SetTrainable(false)
	}
	return nil
}
