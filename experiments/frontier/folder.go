package frontier

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/router/cascade"
)

// ReadCascade reads what the comparison of a cascade needs from a folder: its calibration, the traces of the questions that fixed choices
// are chosen on, and those of the questions that are reported. The errors name the file.
func ReadCascade(dir, calibration, chosen, reported string) (Options, error) {
	c, err := OpenCascade(filepath.Join(dir, calibration))
	if err != nil {
		return Options{}, err
	}
	o := Options{Cascades: []Cascade{c}}
	if o.Validation, err = readReplay(filepath.Join(dir, chosen)); err != nil {
		return Options{}, err
	}
	if o.Test, err = readReplay(filepath.Join(dir, reported)); err != nil {
		return Options{}, err
	}
	if h := o.Validation.Header(); slices.Contains(h.Splits(), "test") {
		return Options{}, fmt.Errorf("%s has test questions: choose on others", filepath.Join(dir, chosen))
	}
	return o, nil
}

func readReplay(path string) (*episodes.Replay, error) {
	file, err := episodes.ReadFile(path)
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
