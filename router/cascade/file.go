package cascade

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
)

// The first fields of a calibration's file, which is JSON.
const (
	Format = "budgetmem-calibration"
	// Version is the newest version that this package reads, and the one that it writes.
	Version = 1
)

// ErrVersion marks a file of a newer version than this package reads, and ErrFile one that is of another kind or damaged.
var (
	ErrVersion = errors.New("the file is of a newer version")
	ErrFile    = errors.New("not a usable calibration file")
)

// maxFile bounds the size of a file in bytes.
const maxFile = 16 << 20

// Calibration is what was fitted to the answers of one system.
type Calibration struct {
	Format  string `json:"format"`
	Version int    `json:"version"`
	// Dataset and Metric say what was answered and how it was scored; Note is for people.
	Dataset string `json:"dataset"`
	Metric  string `json:"metric"`
	Note    string `json:"note,omitempty"`
	// Readers are the ways of answering, in the order of the module's tiers.
	Readers []Reader `json:"readers"`
	// Reward turns gains and dollars into returns; nil if there is only one reader.
	Reward *Reward `json:"reward,omitempty"`
	// Points, by rising λ, say how a cascade that stands alone begins; there may be none.
	Points []Point `json:"points,omitempty"`
}

// ReadFile reads a calibration. Errors wrap ErrFile, ErrVersion, or the error of the file system, such as fs.ErrNotExist.
func ReadFile(path string) (*Calibration, error) {
	info, err := os.Stat(path)
	if err == nil && (info.Mode()&fs.ModeType != 0 || info.Size() > maxFile) {
		err = fmt.Errorf("%w: not a plain file, or larger than %d bytes", ErrFile, maxFile)
	}
	var data []byte
	if err == nil {
		data, err = os.ReadFile(path)
	}
	var c *Calibration
	if err == nil {
		c, err = Parse(data)
	}
	if err != nil {
		return nil, fmt.Errorf("read calibration %s: %w", path, err)
	}
	return c, nil
}

// Parse reads the bytes of a calibration's file. Errors wrap ErrFile or ErrVersion.
func Parse(data []byte) (*Calibration, error) {
	var c Calibration
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFile, err)
	}
	if c.Format == Format && c.Version > Version {
		return nil, fmt.Errorf("%w: it has %d, this program reads up to %d; use a newer program", ErrVersion, c.Version, Version)
	}
	if err := c.Check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFile, err)
	}
	return &c, nil
}

// Marshal returns the bytes of the calibration's file. A calibration that Parse would refuse is an error.
func (c *Calibration) Marshal() ([]byte, error) {
	of := *c
	of.Format, of.Version = Format, Version
	if err := of.Check(); err != nil {
		return nil, fmt.Errorf("write a calibration: %w", err)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	err := enc.Encode(of)
	return b.Bytes(), err
}

// Check returns an error that names the first field that makes no sense.
func (c *Calibration) Check() error {
	switch {
	case c.Format != Format:
		return fmt.Errorf("field \"format\" is %q, not %q", c.Format, Format)
	case c.Version < 1 || c.Version > Version:
		return fmt.Errorf("field \"version\" is %d", c.Version)
	case len(c.Readers) == 0:
		return errors.New("field \"readers\" is empty")
	}
	for i, r := range c.Readers {
		if err := c.checkReader(i, r); err != nil {
			return fmt.Errorf("reader %d (%q): %w", i, r.Tier, err)
		}
	}
	if r := c.Reward; r != nil && !(amount(r.Scale) && amount(r.Low) && amount(r.High) && r.Low <= r.High) {
		return fmt.Errorf("field \"reward\" has scale %v and percentiles %v to %v", r.Scale, r.Low, r.High)
	}
	for i, p := range c.Points {
		switch {
		case c.Reward == nil:
			return errors.New("field \"points\" needs a reward")
		case !amount(p.Lambda) || !amount(p.Dollars) || !amount(p.Score) || i > 0 && p.Lambda <= c.Points[i-1].Lambda:
			return fmt.Errorf("point %d is λ %v, %v dollars, score %v: λ must rise and none be negative or infinite", i, p.Lambda, p.Dollars, p.Score)
		case len(p.Tiers) == 0 || len(p.Tiers) != len(c.Points[0].Tiers) || c.Index(p.Tiers[len(p.Tiers)-1]) < 0:
			return fmt.Errorf("point %d has the tiers %q: as many as the others, and the last a reader's, are needed", i, p.Tiers)
		}
	}
	return nil
}

func (c *Calibration) checkReader(i int, r Reader) error {
	switch {
	case r.Model == "" && r.Dollars != 0:
		return errors.New("field \"model\" is empty, and a reader without a model costs nothing")
	case r.Score == nil:
		return errors.New("field \"score\" is missing")
	case r.Score.Levels == nil && r.Score.Link == "":
		return errors.New("field \"score\" has neither a link nor an isotonic function, without which the sum of signals is no expected score")
	case !amount(r.Dollars) || r.Samples < 0:
		return fmt.Errorf("it costs %v dollars with %d samples", r.Dollars, r.Samples)
	case c.Index(r.Tier) != i:
		return errors.New("the tier is there twice")
	case len(r.Gains) > 0 && c.Reward == nil:
		return errors.New("field \"gains\" needs a reward")
	}
	if err := r.Score.Check(); err != nil {
		return fmt.Errorf("field \"score\": %w", err)
	}
	if r.Answerable != nil {
		if r.Answerable.Levels == nil && r.Answerable.Link == "" {
			return errors.New("field \"answerable\" has neither a link nor an isotonic function, without which the sum of signals is no probability")
		}
		if err := r.Answerable.Check(); err != nil {
			return fmt.Errorf("field \"answerable\": %w", err)
		}
	}
	for tier, g := range r.Gains {
		if at := c.Index(tier); at <= i {
			return fmt.Errorf("field \"gains\": there is no reader %q after it", tier)
		}
		if g == nil {
			return fmt.Errorf("field \"gains\": %q is null", tier)
		}
		if err := g.Check(); err != nil {
			return fmt.Errorf("field \"gains\": %q: %w", tier, err)
		}
	}
	return nil
}

// amount reports whether x is finite and not negative.
func amount(x float64) bool { return x >= 0 && !math.IsInf(x, 0) }
