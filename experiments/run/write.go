package run

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"

	"github.com/budgetmem/budgetmem/internal/atomicfile"
)

// timing is one line of metrics.jsonl: what may differ between two runs of the same settings.
type timing struct {
	Policy      string             `json:"policy"`
	ID          string             `json:"id"`
	MS          float64            `json:"ms"`
	WallMS      float64            `json:"wall_ms"`
	EmbeddingMS float64            `json:"embedding_ms"`
	RetrievalMS float64            `json:"retrieval_ms"`
	ModulesMS   map[string]float64 `json:"modules_ms,omitempty"`
	AnswerMS    float64            `json:"answer_ms"`
	Calls       int                `json:"calls"`
	Cached      int                `json:"cached"`
	Retries     int                `json:"retries"`
	Paid        float64            `json:"paid"` // dollars
}

func newTiming(rec Record) timing {
	t, u := rec.Trace, rec.Trace.Usage()
	out := timing{Policy: rec.Policy, ID: rec.ID, MS: rec.MS, WallMS: t.WallMS, EmbeddingMS: t.Embedding.MS, RetrievalMS: t.RetrievalMS,
		AnswerMS: t.AnswerUsage().MS, Calls: u.Calls, Cached: u.Cached, Retries: u.Retries, Paid: u.Paid}
	for _, m := range t.Modules {
		if out.ModulesMS == nil {
			out.ModulesMS = map[string]float64{}
		}
		out.ModulesMS[m.Module] = m.MS
	}
	return out
}

// write writes predictions.jsonl and metrics.jsonl.
func (o *Outcome) write() error {
	err := o.writeLines("predictions.jsonl", func(r Record) any { return r.Prediction })
	if err != nil {
		return err
	}
	return o.writeLines("metrics.jsonl", func(r Record) any { return newTiming(r) })
}

// writeLines writes a file with a line for each record.
func (o *Outcome) writeLines(name string, line func(Record) any) error {
	return atomicfile.Write(filepath.Join(o.Dir, name), 0o644, func(w io.Writer) error {
		buffered := bufio.NewWriter(w)
		enc := json.NewEncoder(buffered)
		enc.SetEscapeHTML(false)
		for _, c := range o.Columns {
			for _, rec := range c.Records {
				if err := enc.Encode(line(rec)); err != nil {
					return fmt.Errorf("question %s under policy %s: %w", rec.ID, rec.Policy, err)
				}
			}
		}
		return buffered.Flush()
	})
}
