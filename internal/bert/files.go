package bert

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
)

// Files are what a model's folder holds, in the form of Hugging Face.
type Files struct {
	Config  Config
	Tokens  *Tokenizer
	Tensors map[string]Tensor
	// SHA256 is that of model.safetensors.
	SHA256 [sha256.Size]byte
}

// Read reads config.json, tokenizer.json, tokenizer_config.json and model.safetensors. Its errors name the file.
func Read(dir string) (Files, error) {
	var f Files
	data, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		return f, err
	}
	if f.Config, err = ParseConfig(data); err != nil {
		return f, fmt.Errorf("config.json: %w", err)
	}
	if f.Tokens, err = OpenTokenizer(dir); err != nil {
		return f, err
	}
	if data, err = os.ReadFile(filepath.Join(dir, "model.safetensors")); err != nil {
		return f, err
	}
	f.SHA256 = sha256.Sum256(data)
	if f.Tensors, err = ParseWeights(data); err != nil {
		return f, fmt.Errorf("model.safetensors: %w", err)
	}
	return f, nil
}
