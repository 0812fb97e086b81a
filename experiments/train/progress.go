package train

import (
	"bytes"
	"encoding/json"

	"github.com/budgetmem/budgetmem/router"
)

// Progress is how far a training is. `bmem train --progress jsonl` writes it as lines of JSON.
type Progress struct {
	Seed int64 `json:"seed"`
	// Epoch is the number of evaluated epochs of the seed, of Epochs.
	Epoch  int `json:"epoch"`
	Epochs int `json:"epochs"`
	// Metrics are those of the PPO step that just ended, if any.
	Metrics *router.Metrics `json:"metrics,omitempty"`
	// Validation is the evaluation of the epoch that just ended, if any.
	Validation *Epoch `json:"validation,omitempty"`
}

// ParseProgress parses a line of progress; ok is false for any other line, such as a warning.
func ParseProgress(line []byte) (p Progress, ok bool) {
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	err := dec.Decode(&p)
	return p, err == nil && p.Epochs > 0
}
