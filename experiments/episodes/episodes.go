// Package episodes reads, writes and replays files of episodes: what combinations of tiers earned and cost for a benchmark's
// questions. Routers are trained and compared from such files without asking a model.
//
// # File
//
// A trace file is gzip-compressed JSON, one value per line: first the Header, then vectors and episodes in any order, except
// that a vector comes before the episodes that name it. Vectors are numbered from 0 in the order of the file:
//
//	{"format":"budgetmem-traces","version":1,"dataset":"locomo",…}
//	{"vector":"<base64 of little-endian float32s>"}
//	{"id":"conv-26:12","tiers":["low","mid","low","low","high"],"score":0.5,…,"query":0,"memory":[1,2,3]}
//
// Version 2 adds to an episode the answer's text, signals, the ids of quoted turns, tokens by step and sampled answers, and to the
// header the signals that the last module is decided on. A file of version 1 to which nothing of this is added stays one. Both are read.
package episodes

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/budgetmem/budgetmem/internal/f32"
	"github.com/budgetmem/budgetmem/router"
)

// The first fields of a trace file.
const (
	Format = "budgetmem-traces"
	// Version is the newest version of the file that this package reads and writes.
	Version = 2
)

// Header describes a file's episodes.
type Header struct {
	Format  string `json:"format"`
	Version int    `json:"version"`
	// Dataset, DataHash and Split say which questions were asked, Metric how answers were scored.
	Dataset  string `json:"dataset"`
	DataHash string `json:"data_hash"`
	Split    string `json:"split"`
	Metric   string `json:"metric"`
	// Space lists the decisions, and MemoryIndex[m] is the number of the memory embedding that module m was decided on; see
	// router.Shape.
	Space       router.Space `json:"space"`
	MemoryIndex []int        `json:"states"`
	// Signals are what the last module was decided on beside embeddings.
	Signals []router.Signal `json:"signals,omitempty"`
	// Embedder is the id of the embedder, Dim the width of its vectors.
	Embedder string `json:"embedder"`
	Dim      int    `json:"dim"`
	// System holds the settings of the system that answered, by name; they are shown, and compared when files are merged.
	System map[string]any `json:"system,omitempty"`
	// Commit is the program's version, for people.
	Commit string `json:"commit,omitempty"`
}

// Shape is the shape of a router that is trained on the traces, with the default widths.
func (h Header) Shape() router.Shape {
	return router.Shape{Dim: h.Dim, Embedder: h.Embedder, Modules: h.Space, MemoryIndex: h.MemoryIndex, Signals: h.Signals}
}

// Vector is an embedding; as text it is the base64 of its numbers as little-endian float32.
type Vector []float32

// MarshalText implements encoding.TextMarshaler. It never fails.
func (v Vector) MarshalText() ([]byte, error) {
	return base64.StdEncoding.AppendEncode(nil, f32.Bytes(v)), nil
}

// UnmarshalText implements encoding.TextUnmarshaler. Text that is not base64, bytes that are not whole float32s, and numbers that are
// not finite are errors.
func (v *Vector) UnmarshalText(text []byte) error {
	raw, err := base64.StdEncoding.AppendDecode(nil, text)
	if err != nil {
		return fmt.Errorf("a vector is base64 of float32s: %w", err)
	}
	if len(raw)%4 != 0 {
		return fmt.Errorf("a vector of %d bytes is no whole number of float32s", len(raw))
	}
	out := f32.FromBytes(raw)
	for i, x := range out {
		if f := float64(x); math.IsNaN(f) || math.IsInf(f, 0) {
			return fmt.Errorf("a vector holds %v at position %d", x, i)
		}
	}
	*v = out
	return nil
}

// File is a trace file's content.
type File struct {
	Header
	// Episodes holds at most one episode per question and combination of tiers.
	Episodes []router.Episode
}

// IDs lists the questions in the order of their first episodes.
func (f *File) IDs() []string {
	var ids []string
	seen := map[string]bool{}
	for _, t := range f.Episodes {
		if !seen[t.ID] {
			seen[t.ID] = true
			ids = append(ids, t.ID)
		}
	}
	return ids
}

// Outcomes lists the outcomes of all episodes.
func (f *File) Outcomes() []router.Outcome {
	out := make([]router.Outcome, len(f.Episodes))
	for i, t := range f.Episodes {
		out[i] = t.Outcome()
	}
	return out
}

// Reward returns a reward, with reward-scale alignment or without, that has observed all outcomes.
func (f *File) Reward(align bool) *router.Reward {
	r := router.NewReward(align)
	r.Observe(f.Outcomes()...)
	return r
}

// check refuses what Parse would refuse.
func (h Header) check() error {
	if h.Format != Format {
		return fmt.Errorf("field \"format\" is %q, not %q: this is no trace file", h.Format, Format)
	}
	if h.Version < 1 || h.Version > Version {
		return fmt.Errorf("field \"version\" is %d, this program reads 1 to %d", h.Version, Version)
	}
	if err := router.CheckSignals(h.Signals); err != nil {
		return fmt.Errorf("field \"signals\": %w", err)
	}
	if h.Dim < 1 || len(h.Space) == 0 || len(h.MemoryIndex) != len(h.Space) {
		return fmt.Errorf("dim is %d, and there are %d states of %d modules", h.Dim, len(h.MemoryIndex), len(h.Space))
	}
	for m, module := range h.Space {
		if module.Name == "" || len(module.Tiers) == 0 {
			return fmt.Errorf("field \"space\": module %d has no name or no tiers", m)
		}
		if next := slices.Max(append([]int{-1}, h.MemoryIndex[:m]...)) + 1; h.MemoryIndex[m] < 0 || h.MemoryIndex[m] > next {
			return fmt.Errorf("field \"states\": module %s has state %d, at most %d can be next", module.Name, h.MemoryIndex[m], next)
		}
	}
	return nil
}

// memories is the number of memory embeddings of a trace.
func (h Header) memories() int { return slices.Max(h.MemoryIndex) + 1 }

func (h Header) checkTrace(t router.Episode) error {
	switch {
	case t.ID == "":
		return errors.New("field \"id\" is empty")
	case len(t.Choices) != len(h.Space):
		return fmt.Errorf("field \"tiers\" has %d tiers for %d modules", len(t.Choices), len(h.Space))
	case !(t.Score >= 0 && t.Score <= 1):
		return fmt.Errorf("field \"score\" is %v, not in 0 to 1", t.Score)
	case !(t.ModulesDollars >= 0 && t.AnswerDollars >= 0) || math.IsInf(t.ModulesDollars+t.AnswerDollars, 0):
		return fmt.Errorf("dollars %v and %v must be finite and not negative", t.ModulesDollars, t.AnswerDollars)
	case len(t.Query) != h.Dim:
		return fmt.Errorf("field \"query\" names a vector of %d numbers, dim is %d", len(t.Query), h.Dim)
	case slices.ContainsFunc(t.Calls, func(c router.Calls) bool {
		return c.Step == "" || c.Calls < 0 || c.In < 0 || c.Out < 0 || !(c.Dollars >= 0) || math.IsInf(c.Dollars, 0)
	}):
		return errors.New("field \"calls\" has an entry without a step, or with a number that is negative")
	case slices.ContainsFunc(t.Draws, func(d router.Draw) bool { return !(d.Score >= 0 && d.Score <= 1) }):
		return errors.New("field \"draws\" has a score that is not in 0 to 1")
	case len(t.Memory) != h.memories():
		return fmt.Errorf("field \"memory\" names %d vectors, there are %d states", len(t.Memory), h.memories())
	}
	for m, choice := range t.Choices {
		if choice < 0 || choice >= len(h.Space[m].Tiers) {
			return fmt.Errorf("module %s has no tier number %d", h.Space[m].Name, choice)
		}
	}
	for s, v := range t.Memory {
		if len(v) != 0 && len(v) != h.Dim {
			return fmt.Errorf("field \"memory\": vector of state %d has %d numbers, dim is %d", s, len(v), h.Dim)
		}
	}
	return nil
}

// line is a line of a file behind the header: a vector, or a trace with its tiers and vectors.
type line struct {
	Vector *Vector `json:"vector,omitempty"`
	*router.Episode
	Tiers  []string `json:"tiers,omitempty"`
	QueryN *int     `json:"query,omitempty"`
	// MemoryN holds -1 for an empty vector.
	MemoryN []int `json:"memory,omitempty"`
}

// systemOf turns any value's JSON fields into Header.System.
func systemOf(v any) (map[string]any, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var out map[string]any
	return out, json.Unmarshal(data, &out)
}
