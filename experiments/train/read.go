package train

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// Read reads the summary of a training that has ended from its folder. If there is none, the error wraps fs.ErrNotExist.
func Read(dir string) (*Summary, error) {
	path := filepath.Join(dir, "summary.json")
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read a training: %w", err)
	}
	s := &Summary{Dir: dir}
	if err := json.Unmarshal(data, s); err != nil {
		return nil, fmt.Errorf("read a training: %s: %w", path, err)
	}
	for i := range s.Seeds {
		if s.Seeds[i].Metrics, err = readLines(filepath.Join(dir, fmt.Sprintf("seed-%d", s.Seeds[i].Seed), "metrics.jsonl")); err != nil {
			return nil, fmt.Errorf("read a training: %w", err)
		}
	}
	return s, nil
}
