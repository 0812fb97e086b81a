package datasets

import (
	"context"
	"fmt"
	"slices"
)

// Info describes a data set without reading its data.
type Info struct {
	Name        string      `json:"name"`
	Summary     string      `json:"summary"`
	Licence     string      `json:"licence"`
	Metric      string      `json:"metric"`
	ChunkTokens int         `json:"chunk_tokens"`
	Hash        string      `json:"hash"`
	Splits      []SplitInfo `json:"splits"`
}

// SplitInfo describes a split without reading its data.
type SplitInfo struct {
	Split Split `json:"split"`
	// Questions is how many there are; 0 where only the data tell.
	Questions int `json:"questions,omitempty"`
	// Missing says what to do about a file that is not there; "" if the split can be read.
	Missing string `json:"missing,omitempty"`
}

// Describe describes a data set. It checks the hashes of the files that are there; errors are those of Open.
func Describe(name string, opts Options) (Info, error) {
	d, err := openDataset(name, opts)
	if err != nil {
		return Info{}, err
	}
	info := Info{d.name, d.summary, d.licence, d.metric, d.chunkTokens, d.hash, nil}
	for _, split := range splits {
		info.Splits = append(info.Splits, SplitInfo{split, len(d.order[split]), d.missing(split)})
	}
	return info, nil
}

// missing says what to do about a split's file that is not there; "" if all are.
func (d *dataset) missing(split Split) string {
	for _, s := range d.sources(split) {
		if s.url == "" {
			continue
		}
		if _, err := s.find(d.opts); err != nil {
			return err.Error()
		}
	}
	return ""
}

// Report is what Verify found in one split.
type Report struct {
	Split     Split `json:"split"`
	Questions int   `json:"questions"`
	Histories int   `json:"histories"`
	Turns     int   `json:"turns"`
	// Evidence counts the evidence turns named by all questions, EvidenceDropped the ids that name no turn, and
	// NoEvidence the questions left without any.
	Evidence        int `json:"evidence"`
	EvidenceDropped int `json:"evidence_dropped"`
	NoEvidence      int `json:"no_evidence"`
	// Warning says that the split has no question, and what to do; "" if it has.
	Warning string `json:"warning,omitempty"`
	// Missing says what to do about a file that is not there; the counts are then 0.
	Missing string `json:"missing,omitempty"`
}

// Verify reads every split of a data set and checks it: hashes, fields, the index, and that ids are unique and resolve. A
// file that is not there and an empty split are reported and no error; a broken one is an error that names file, record and field.
func Verify(ctx context.Context, name string, opts Options) ([]Report, error) {
	d, err := openDataset(name, opts)
	if err != nil {
		return nil, err
	}
	var out []Report
	for _, split := range splits {
		if m := d.missing(split); m != "" {
			out = append(out, Report{Split: split, Missing: m})
			continue
		}
		p, err := d.part(ctx, split)
		if err != nil {
			return nil, err
		}
		r, err := p.verify(split)
		if err != nil {
			return nil, fmt.Errorf("%s, %s split: %w", name, split, err)
		}
		if r.Questions == 0 {
			r.Warning = d.empty(split)
		}
		out = append(out, r)
	}
	return out, nil
}

func (p *part) verify(split Split) (Report, error) {
	r := Report{Split: split, Questions: len(p.questions), Histories: len(p.histories)}
	turns := map[string]map[string]bool{}
	for id, h := range p.histories {
		r.Turns += len(h.Turns)
		turns[id] = map[string]bool{}
		for _, t := range h.Turns {
			if turns[id][t.ID] {
				return Report{}, fmt.Errorf("history %q: turn id %q occurs twice", id, t.ID)
			}
			turns[id][t.ID] = true
		}
	}
	for _, q := range p.questions {
		r.Evidence += len(q.Evidence)
		r.EvidenceDropped += q.EvidenceDropped
		if len(q.Evidence) == 0 {
			r.NoEvidence++
		}
		if i := slices.IndexFunc(q.Evidence, func(id string) bool { return !turns[q.History][id] }); i >= 0 {
			return Report{}, fmt.Errorf("question %q: evidence %q names no turn", q.ID, q.Evidence[i])
		}
	}
	return r, nil
}
