package router

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/budgetmem/budgetmem/internal/atomicfile"
	"github.com/budgetmem/budgetmem/internal/safetensors"
)

// What a checkpoint says of itself among the metadata of its safetensors.
const (
	checkpointFormat  = "budgetmem-router-training"
	checkpointVersion = 1
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
	for v := range t.net.store.IterVariables() {
		value, err := v.Value()
		if err != nil {
			return fail(err)
		}
		if f.Tensors[v.Path()], err = fromTensor(value); err != nil {
			return fail(fmt.Errorf("%s: %w", v.Path(), err))
		}
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
	if err := t.net.restore(f, ""); err != nil {
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
	if err := n.restore(f, root); err != nil {
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

// restore takes over the variables of a file whose paths have a prefix. It checks all before it changes any.
func (n *Network) restore(f safetensors.File, prefix string) error {
	values := map[string]*tensors.Tensor{}
	for path, t := range f.Tensors {
		if !strings.HasPrefix(path, "/") || !strings.HasPrefix(path, prefix) {
			continue
		}
		value, err := toTensor(t)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if v := n.store.GetVariable(path); v != nil && !v.Shape().Equal(value.Shape()) {
			return fmt.Errorf("%s has shape %s, the network's is %s", path, value.Shape(), v.Shape())
		}
		values[path] = value
	}
	for v := range n.store.IterVariables() {
		if values[v.Path()] == nil {
			return fmt.Errorf("%s is missing", v.Path())
		}
	}
	for path, value := range values {
		v := n.store.GetVariable(path)
		if v == nil { // Adam's, which it makes at the first update
			var err error
			if v, err = n.store.CreateVariable(path, value); err != nil {
				return err
			}
			v.SetTrainable(false)
			continue
		}
		if err := v.SetValue(value); err != nil {
			return err
		}
	}
	return nil
}

func fromTensor(t *tensors.Tensor) (out safetensors.Tensor, err error) {
	dims := t.Shape().Dimensions
	switch t.DType() {
	case dtypes.Float32:
		v, err := tensors.CopyFlatData[float32](t)
		return safetensors.FromFloat32(v, dims...), err
	case dtypes.Int64:
		v, err := tensors.CopyFlatData[int64](t)
		return safetensors.FromInt64(v, dims...), err
	}
	return out, fmt.Errorf("elements of type %s cannot be saved", t.DType())
}

func toTensor(t safetensors.Tensor) (*tensors.Tensor, error) {
	f, ferr := t.Float32()
	i, ierr := t.Int64()
	switch {
	case ferr == nil:
		return tensors.FromFlatDataAndDimensions(f, t.Shape...), nil
	case ierr == nil:
		return tensors.FromFlatDataAndDimensions(i, t.Shape...), nil
	}
	return nil, errors.Join(ferr, ierr)
}
