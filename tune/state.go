package tune

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/budgetmem/budgetmem/internal/atomicfile"
	"github.com/budgetmem/budgetmem/internal/private"
	"github.com/budgetmem/budgetmem/internal/safetensors"
	"github.com/budgetmem/budgetmem/internal/sealed"
)

// The names in a run's folder.
const (
	configFile    = "config.json"
	metricsFile   = "metrics.jsonl"
	checkpointDir = "checkpoint"
	stateFile     = "state.safetensors"
	lastDir       = "last"
	bestDir       = "best"
)

// state is where a training stands, beside the matrices. It is in the checkpoint, so that one file holds all that the rest of
// the run depends on; metrics.jsonl is written from it.
type state struct {
	Step      int     `json:"step"`
	FirstLoss float64 `json:"first_loss"`
	BestStep  int     `json:"best_step"`
	BestLoss  float64 `json:"best_loss"`
	Metrics   []Step  `json:"metrics"`
}

const stateKey = "state"

// settings is config.json: what must stay the same when a run is resumed.
type settings struct {
	Model  string `json:"model"`
	SHA256 string `json:"model_sha256"`
	From   string `json:"from_sha256,omitempty"` // of the adapter that it went on from
	Train  string `json:"train_sha256"`          // of the tokens of all examples
	Valid  string `json:"valid_sha256,omitempty"`
	Config Config `json:"config"`
}

// restore continues from the checkpoint in the run's folder, or begins. It refuses a folder with other settings.
func (t *training) restore() error {
	if err := t.compareSettings(); err != nil {
		return err
	}
	var saved map[string]safetensors.Tensor
	path := filepath.Join(t.Dir, checkpointDir, stateFile)
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	default:
		f, err := safetensors.Parse(data)
		if err == nil {
			err = json.Unmarshal([]byte(f.Metadata[stateKey]), &t.at)
		}
		if err != nil {
			return fmt.Errorf("checkpoint %s: %w", path, err)
		}
		saved = f.Tensors
	}
	t.matrices, err = newMatrices(t.Backend, t.Config, &t.base.Config, t.decoder.keys, t.From, saved)
	return err
}

func (t *training) compareSettings() error {
	now := settings{Model: t.Model, SHA256: t.base.SHA256, Train: t.train.hash(), Config: t.Config}
	if t.From != nil {
		now.From = t.From.SHA256
	}
	if t.valid != nil {
		now.Valid = t.valid.hash()
	}
	text, err := json.MarshalIndent(now, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(t.Dir, configFile)
	before, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return atomicfile.WriteFile(path, sealed.SealFile(text), 0o644)
	}
	if err != nil {
		return err
	}
	if before, err = sealed.OpenFile(before); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if bytes.Equal(before, text) {
		return nil
	}
	if from := []byte(`"from_sha256"`); bytes.Contains(before, from) != bytes.Contains(text, from) {
		return fmt.Errorf("%s was written by a run that began with another adapter, or with none; give another folder", path)
	}
	a, b := bytes.Split(before, []byte("\n")), bytes.Split(text, []byte("\n"))
	for i := range min(len(a), len(b)) {
		if !slices.Equal(a[i], b[i]) {
			return fmt.Errorf("%s was written by a run of other settings: it has %s, now %s; give another folder", path, bytes.TrimSpace(a[i]), bytes.TrimSpace(b[i]))
		}
	}
	return fmt.Errorf("%s was written by a run of other settings; give another folder", path)
}

// save writes the adapters and then the checkpoint: a run that ends between the two makes the same adapters again.
func (t *training) save(s Step) error {
	a, err := t.matrices.adapter()
	if err != nil {
		return err
	}
	if a.Info, err = t.info(); err != nil {
		return err
	}
	if s.ValidLoss != nil && (t.at.BestStep == 0 || *s.ValidLoss < t.at.BestLoss) {
		t.at.BestStep, t.at.BestLoss = t.at.Step, *s.ValidLoss
		if err := a.Write(filepath.Join(t.Dir, bestDir)); err != nil {
			return err
		}
	}
	if err := a.Write(filepath.Join(t.Dir, lastDir)); err != nil {
		return err
	}
	var lines bytes.Buffer
	enc := json.NewEncoder(&lines)
	for _, m := range t.at.Metrics {
		if err := enc.Encode(m); err != nil {
			return err
		}
	}
	if err := atomicfile.WriteFile(filepath.Join(t.Dir, metricsFile), lines.Bytes(), 0o644); err != nil {
		return err
	}
	f := safetensors.File{Metadata: map[string]string{}}
	at, err := json.Marshal(t.at)
	if err != nil {
		return err
	}
	f.Metadata[stateKey] = string(at)
	if f.Tensors, err = t.matrices.state(); err != nil {
		return err
	}
	f.Seal()
	data, err := f.Marshal()
	if err != nil {
		return err
	}
	dir := filepath.Join(t.Dir, checkpointDir)
	if err := private.Dir(dir); err != nil {
		return err
	}
	return atomicfile.WriteFile(filepath.Join(dir, stateFile), data, 0o644)
}
