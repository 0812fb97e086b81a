package frontier

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/router/cascade"
)

// The names of the splits.
const (
	validationSplit = "validation"
	testSplit       = "test"
)

// ReadCascade reads what the comparison of a cascade needs from a folder: validation.jsonl.gz, test.jsonl.gz, and the calibration in a
// file of that folder. The errors name the file.
func ReadCascade(dir, calibration string) (Options, error) {
	c, err := OpenCascade(filepath.Join(dir, calibration))
	if err != nil {
		return Options{}, err
	}
	o := Options{Cascades: []Cascade{c}}
	if o.Validation, err = readSplit(dir, validationSplit); err != nil {
		return Options{}, err
	}
	if o.Test, err = readSplit(dir, testSplit); err != nil {
		return Options{}, err
	}
	return o, nil
}

func readSplit(dir, split string) (*episodes.Replay, error) {
	path := filepath.Join(dir, split+".jsonl.gz")
	file, err := episodes.ReadSplit(path, split)
	if err != nil {
		return nil, err
	}
	r, err := episodes.NewReplay(file, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// OpenCascade reads a calibration, whose cascade is named by its file.
func OpenCascade(path string) (Cascade, error) {
	c, err := cascade.ReadFile(path)
	if err != nil {
		return Cascade{}, fmt.Errorf("read the calibration of a cascade: %w", err)
	}
	return Cascade{Name: "cascade " + strings.TrimSuffix(filepath.Base(path), filepath.Ext(path)), Calibration: c}, nil
}
