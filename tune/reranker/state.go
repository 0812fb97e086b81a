package reranker

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/budgetmem/budgetmem/internal/atomicfile"
	"github.com/budgetmem/budgetmem/internal/bert"
	"github.com/budgetmem/budgetmem/internal/private"
	"github.com/budgetmem/budgetmem/internal/safetensors"
)

// The names in a run's folder.
const (
	modelDir       = "model"
	checkpointFile = "checkpoint.safetensors"
	metricsFile    = "metrics.jsonl"
)

// weightsScope holds the model's weights in the store, in the order of bert.Config.PairWeights.
const weightsScope = "/weights"

func path(i int) string { return fmt.Sprintf("%s/%d", weightsScope, i) }

// settings is what must stay the same when a run is resumed.
func (t *trainer) settings(encoder [sha256.Size]byte) (string, error) {
	h := sha256.New()
	if err := json.NewEncoder(h).Encode(t.Train); err != nil {
		return "", err
	}
	out, err := json.Marshal(struct {
		Encoder string `json:"encoder_sha256"`
		Train   string `json:"train_sha256"`
		Config  Config `json:"config"`
	}{fmt.Sprintf("%x", encoder), fmt.Sprintf("%x", h.Sum(nil)), t.Config})
	return string(out), err
}

// restore puts the weights into the store: the encoder's, or those of the checkpoint with the optimizer's moments.
func (t *trainer) restore(weights []bert.Tensor, encoder [sha256.Size]byte) error {
	now, err := t.settings(encoder)
	if err != nil {
		return err
	}
	var saved map[string]safetensors.Tensor
	file := filepath.Join(t.Dir, checkpointFile)
	data, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	default:
		f, err := safetensors.Parse(data)
		if err != nil {
			return fmt.Errorf("checkpoint %s: %w", file, err)
		}
		if before := f.Metadata["settings"]; before != now {
			return fmt.Errorf("%s was written by a run of other settings: %s, now %s; give another folder", file, before, now)
		}
		if err := json.Unmarshal([]byte(f.Metadata["metrics"]), &t.metrics); err != nil {
			return fmt.Errorf("checkpoint %s: metrics: %w", file, err)
		}
		saved = f.Tensors
	}
	trained := t.bert.TrainedFrom(t.Config.Layers)
	for i, w := range weights {
		if i == t.head() {
			w = w.Scaled(1.0 / headScale)
		}
		values := w.Data
		if s, ok := saved[path(i)]; ok {
			if values, err = s.Float32(); err != nil || len(values) != len(w.Data) {
				return fmt.Errorf("checkpoint %s: %s is damaged (%d values, want %d): %w", file, path(i), len(values), len(w.Data), err)
			}
		}
		v, err := t.store.CreateVariable(path(i), tensors.FromFlatDataAndDimensions(values, w.Dims...))
		if err != nil {
			return err
		}
		v.SetTrainable(i >= trained)
	}
	for name, s := range saved {
		if strings.HasPrefix(name, weightsScope) {
			continue
		}
		values, err := s.Float32()
		if err != nil {
			return fmt.Errorf("checkpoint %s: %s: %w", file, name, err)
		}
		v, err := t.store.CreateVariable(name, tensors.FromFlatDataAndDimensions(values, s.Shape...))
		if err != nil {
			return err
		}
		v.SetTrainable(false)
	}
	t.settingsText = now
	return nil
}

// save writes the checkpoint: all that the rest of the run depends on but the frozen weights.
func (t *trainer) save() error {
	metrics, err := json.Marshal(t.metrics)
	if err != nil {
		return err
	}
	f := safetensors.File{Metadata: map[string]string{"settings": t.settingsText, "metrics": string(metrics)}, Tensors: map[string]safetensors.Tensor{}}
	for v := range t.store.IterVariables() {
		if v.DType() != dtypes.Float32 || strings.HasPrefix(v.Path(), weightsScope) && !v.Trainable { // the global step, which nothing reads
			continue
		}
		value, err := v.Value()
		if err != nil {
			return err
		}
		f.Tensors[v.Path()] = safetensors.FromFloat32(tensors.MustCopyFlatData[float32](value), v.Shape().Dimensions...)
	}
	data, err := f.Marshal()
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(filepath.Join(t.Dir, checkpointFile), data, 0o644)
}

// write writes the model, in the form of Hugging Face's BertForSequenceClassification, and the metrics.
func (t *trainer) write() error {
	var lines bytes.Buffer
	enc := json.NewEncoder(&lines)
	for _, m := range t.metrics {
		if err := enc.Encode(m); err != nil {
			return err
		}
	}
	if err := atomicfile.WriteFile(filepath.Join(t.Dir, metricsFile), lines.Bytes(), 0o644); err != nil {
		return err
	}
	weights := make([]bert.Tensor, t.count)
	for i := range weights {
		v := t.store.GetVariable(path(i))
		value, err := v.Value()
		if err != nil {
			return err
		}
		weights[i] = bert.Tensor{Dims: v.Shape().Dimensions, Data: tensors.MustCopyFlatData[float32](value)}
		if i == t.head() {
			weights[i] = weights[i].Scaled(headScale)
		}
	}
	f := safetensors.File{Metadata: map[string]string{"format": "pt", "settings": t.settingsText}, Tensors: map[string]safetensors.Tensor{}}
	for name, w := range t.bert.PairTensors(weights, t.first) {
		f.Tensors[name] = safetensors.FromFloat32(w.Data, w.Dims...)
	}
	data, err := f.Marshal()
	if err != nil {
		return err
	}
	dir := filepath.Join(t.Dir, modelDir)
	if err := private.Dir(dir); err != nil {
		return err
	}
	config, err := classifierConfig(filepath.Join(t.Encoder, "config.json"))
	if err != nil {
		return err
	}
	files := map[string][]byte{"config.json": config}
	for _, name := range []string{"tokenizer.json", "tokenizer_config.json"} {
		if files[name], err = os.ReadFile(filepath.Join(t.Encoder, name)); err != nil {
			return err
		}
	}
	for name, data := range files {
		if err := atomicfile.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return err
		}
	}
	return atomicfile.WriteFile(filepath.Join(dir, "model.safetensors"), data, 0o644)
}

// classifierConfig is an encoder's config.json for a classifier of one label.
func classifierConfig(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var c map[string]any
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	c["architectures"] = []string{"BertForSequenceClassification"}
	c["id2label"], c["label2id"] = map[string]string{"0": "evidence"}, map[string]int{"evidence": 0}
	out, err := json.MarshalIndent(c, "", "  ")
	return append(out, '\n'), err
}
