// Package adapter reads and writes low-rank adapters (LoRA, Hu et al. 2021) in the format of the PEFT library: a folder with
// adapter_config.json and adapter_model.safetensors. A matrix W of the base model becomes W + alpha/rank · B·A.
package adapter

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/budgetmem/budgetmem/internal/atomicfile"
	"github.com/budgetmem/budgetmem/internal/safetensors"
)

// The files of an adapter.
const (
	ConfigFile  = "adapter_config.json"
	WeightsFile = "adapter_model.safetensors"
)

// Targets are the names of the linear maps of a layer that can be adapted, as Hugging Face's models name them.
func Targets() []string {
	return []string{"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
}

// ErrFormat is wrapped by the errors of files that are no adapter as this package knows them, or were cut.
var ErrFormat = errors.New("not a usable adapter")

// Key names one adapted map.
type Key struct {
	Layer  int
	Target string
}

// Pair is the two matrices of one adapted map, row by row.
type Pair struct {
	A       []float32 // [rank, in]
	B       []float32 // [out, rank]
	In, Out int
}

// Adapter is an adapter in memory.
type Adapter struct {
	Rank  int
	Alpha float64
	Pairs map[Key]Pair
	Info  Info
	// SHA256 identifies the weights file that was read, in hexadecimal digits; "" for an adapter that was not read from one.
	SHA256 string
}

// Info is what this project notes about an adapter, inside its weights file.
type Info struct {
	Base         string `json:"base"`        // name of the base model
	BaseSHA256   string `json:"base_sha256"` // of its GGUF file
	Template     string `json:"template"`    // the prompt it was trained with, as tiers.TunedPrompt knows it
	TemplateHash string `json:"template_sha256"`
	Data         []Data `json:"data"`
	Steps        int    `json:"steps"`
	Commit       string `json:"commit,omitempty"`
	License      string `json:"license,omitempty"` // of the data, and so of the adapter
}

// Data is a file of examples.
type Data struct {
	Name     string `json:"name"`
	SHA256   string `json:"sha256"`
	Examples int    `json:"examples"`
}

// In reports whether the ID of a model, as local.Model has it, is that of one with this adapter.
func (a *Adapter) In(id string) bool { return strings.HasSuffix(id, "+sha256:"+a.SHA256) }

// ReadOf reads the adapter in a folder, which the model with an ID must have. The error for another one, which may have the same name,
// says so; the others are those of Read.
func ReadOf(dir, id string) (*Adapter, error) {
	a, err := Read(dir)
	if err == nil && !a.In(id) {
		err = fmt.Errorf("the server has another adapter of this name than the one in %s", dir)
	}
	return a, err
}

// Scale is the factor of B·A.
func (a *Adapter) Scale() float64 { return a.Alpha / float64(a.Rank) }

// config is adapter_config.json.
type config struct {
	PeftType        string             `json:"peft_type"`
	TaskType        string             `json:"task_type"`
	Base            string             `json:"base_model_name_or_path"`
	Rank            int                `json:"r"`
	Alpha           float64            `json:"lora_alpha"`
	Dropout         float64            `json:"lora_dropout"`
	Bias            string             `json:"bias"`
	FanInFanOut     bool               `json:"fan_in_fan_out"`
	Inference       bool               `json:"inference_mode"`
	Targets         []string           `json:"target_modules"`
	Layers          []int              `json:"layers_to_transform"`
	Pattern         string             `json:"layers_pattern"`
	UseDora         bool               `json:"use_dora"`
	UseRslora       bool               `json:"use_rslora"`
	RankPattern     map[string]int     `json:"rank_pattern"`
	AlphaPattern    map[string]float64 `json:"alpha_pattern"`
	ModulesToSave   []string           `json:"modules_to_save"`
	InitLoraWeights bool               `json:"init_lora_weights"`
	TrainableTokens []int              `json:"trainable_token_indices"`
	LoraBias        bool               `json:"lora_bias"`
}

const metadataKey = "budgetmem"

func tensorName(k Key, matrix string) string {
	group := "self_attn"
	if slices.Index(Targets(), k.Target) >= 4 {
		group = "mlp"
	}
	return fmt.Sprintf("base_model.model.model.layers.%d.%s.%s.lora_%s.weight", k.Layer, group, k.Target, matrix)
}

var tensorRE = regexp.MustCompile(`^base_model\.model\.model\.layers\.(\d+)\.(?:self_attn|mlp)\.([a-z]+_proj)\.lora_([AB])\.weight$`)

// Write writes the adapter's two files and its card into a folder, which is made if need be. Values are stored as float16.
func (a *Adapter) Write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write adapter: %w", err)
	}
	info, err := json.Marshal(a.Info)
	if err != nil {
		return fmt.Errorf("write adapter: %w", err)
	}
	f := safetensors.File{Metadata: map[string]string{"format": "pt", metadataKey: string(info)}, Tensors: map[string]safetensors.Tensor{}}
	c := config{PeftType: "LORA", TaskType: "CAUSAL_LM", Base: a.Info.Base, Rank: a.Rank, Alpha: a.Alpha, Bias: "none", Inference: true,
		Pattern: "layers", InitLoraWeights: true, RankPattern: map[string]int{}, AlphaPattern: map[string]float64{}}
	for _, k := range a.Keys() {
		p := a.Pairs[k]
		f.Tensors[tensorName(k, "A")] = safetensors.FromFloat16(p.A, a.Rank, p.In)
		f.Tensors[tensorName(k, "B")] = safetensors.FromFloat16(p.B, p.Out, a.Rank)
		if !slices.Contains(c.Layers, k.Layer) {
			c.Layers = append(c.Layers, k.Layer)
		}
		if !slices.Contains(c.Targets, k.Target) {
			c.Targets = append(c.Targets, k.Target)
		}
	}
	f.Seal()
	weights, err := f.Marshal()
	if err != nil {
		return fmt.Errorf("write adapter %s: %w", dir, err)
	}
	conf, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return fmt.Errorf("write adapter %s: %w", dir, err)
	}
	if err := atomicfile.WriteFile(filepath.Join(dir, WeightsFile), weights, 0o644); err != nil {
		return fmt.Errorf("write adapter: %w", err)
	}
	if err := atomicfile.WriteFile(filepath.Join(dir, CardFile), []byte(a.card()), 0o644); err != nil {
		return fmt.Errorf("write adapter: %w", err)
	}
	if err := atomicfile.WriteFile(filepath.Join(dir, ConfigFile), append(conf, '\n'), 0o644); err != nil {
		return fmt.Errorf("write adapter: %w", err)
	}
	return nil
}

// Keys lists the adapted maps by layer, and in a layer in the order of Targets.
func (a *Adapter) Keys() []Key {
	order := Targets()
	return slices.SortedFunc(maps.Keys(a.Pairs), func(x, y Key) int {
		if x.Layer != y.Layer {
			return x.Layer - y.Layer
		}
		return slices.Index(order, x.Target) - slices.Index(order, y.Target)
	})
}

// Read reads an adapter from its folder. The error of files that are no LoRA adapter of a decoder, or were cut, wraps ErrFormat
// and says why.
func Read(dir string) (*Adapter, error) {
	a, err := read(dir)
	if err != nil {
		return nil, fmt.Errorf("read adapter %s: %w", dir, err)
	}
	return a, nil
}

func read(dir string) (*Adapter, error) {
	text, err := os.ReadFile(filepath.Join(dir, ConfigFile))
	if err != nil {
		return nil, err
	}
	var c config
	if err := json.NewDecoder(bytes.NewReader(text)).Decode(&c); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrFormat, ConfigFile, err)
	}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrFormat, ConfigFile, err)
	}
	data, err := os.ReadFile(filepath.Join(dir, WeightsFile))
	if err != nil {
		return nil, err
	}
	f, err := safetensors.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrFormat, WeightsFile, err)
	}
	sum := sha256.Sum256(data)
	a := &Adapter{Rank: c.Rank, Alpha: c.Alpha, Pairs: map[Key]Pair{}, SHA256: hex.EncodeToString(sum[:])}
	if info, ok := f.Metadata[metadataKey]; ok {
		if err := json.Unmarshal([]byte(info), &a.Info); err != nil {
			return nil, fmt.Errorf("%w: %s: metadata: %w", ErrFormat, WeightsFile, err)
		}
	}
	if err := a.take(f); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrFormat, WeightsFile, err)
	}
	return a, nil
}

// check refuses what merging B·A into the weights would not do justice to.
func (c config) check() error {
	switch {
	case c.PeftType != "LORA":
		return fmt.Errorf("peft_type is %q, want LORA", c.PeftType)
	case c.Rank <= 0 || !(c.Alpha > 0) || math.IsInf(c.Alpha, 0):
		return fmt.Errorf("r is %d and lora_alpha %v: both must be positive", c.Rank, c.Alpha)
	case c.UseDora || c.UseRslora || c.LoraBias || c.FanInFanOut || c.Bias != "none" && c.Bias != "":
		return errors.New("use_dora, use_rslora, lora_bias, fan_in_fan_out and trained biases are not supported")
	case len(c.RankPattern) > 0 || len(c.AlphaPattern) > 0 || len(c.ModulesToSave) > 0 || len(c.TrainableTokens) > 0:
		return errors.New("rank_pattern, alpha_pattern, modules_to_save and trainable_token_indices are not supported")
	}
	return nil
}

// take fills the pairs from the tensors.
func (a *Adapter) take(f safetensors.File) error {
	for _, name := range slices.Sorted(maps.Keys(f.Tensors)) {
		t := f.Tensors[name]
		m := tensorRE.FindStringSubmatch(name)
		if m == nil || !slices.Contains(Targets(), m[2]) {
			return fmt.Errorf("tensor %q adapts none of a layer's linear maps", name)
		}
		layer, err := strconv.Atoi(m[1])
		if err != nil {
			return fmt.Errorf("tensor %q: %w", name, err)
		}
		values, err := t.AsFloat32()
		if err != nil {
			return fmt.Errorf("tensor %q: %w", name, err)
		}
		key := Key{layer, m[2]}
		p := a.Pairs[key]
		rankAxis := 0
		if m[3] == "B" {
			rankAxis = 1
		}
		if len(t.Shape) != 2 || t.Shape[rankAxis] != a.Rank {
			return fmt.Errorf("tensor %q has shape %v, which does not go with r = %d", name, t.Shape, a.Rank)
		}
		if m[3] == "A" {
			p.A, p.In = values, t.Shape[1]
		} else {
			p.B, p.Out = values, t.Shape[0]
		}
		a.Pairs[key] = p
	}
	if len(a.Pairs) == 0 {
		return errors.New("there is no tensor in it")
	}
	for _, k := range a.Keys() {
		if p := a.Pairs[k]; p.A == nil || p.B == nil {
			return fmt.Errorf("layer %d, %s has only one of its two matrices", k.Layer, k.Target)
		}
	}
	return nil
}
