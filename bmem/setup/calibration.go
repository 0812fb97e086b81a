package setup

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"github.com/budgetmem/budgetmem/router/cascade"
	"github.com/budgetmem/budgetmem/tiers"
)

// ShippedCalibration as Spec.Calibration is the calibration that comes with the program for the tier set and a model on this machine;
// none where there is none for them.
const ShippedCalibration = "auto"

// calibrations are those that come with the program, as TIERSET/MODEL.json. The page on confidence in docs says how they were made.
//
//go:embed calibrations
var calibrations embed.FS

// shippedCalibration is the one that ShippedCalibration stands for; nil for none.
func (s *Spec) shippedCalibration(answering Model) (*cascade.Calibration, error) {
	if !answering.Local || s.AnswerSamples > 1 || !slices.Contains(tiers.Axes(), s.tierSet()) {
		return nil, nil
	}
	name := path.Join("calibrations", s.tierSet(), answering.Client.Model()+".json")
	data, err := calibrations.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	c, err := cascade.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("the shipped %s: %w", name, err)
	}
	return c, nil
}
