package local

import (
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/gomlx/gomlx/core/tensors"

	"github.com/budgetmem/budgetmem/tiers/llm/local/adapter"
)

// ErrAdapter is wrapped by the errors of an adapter that was made for another model.
var ErrAdapter = errors.New("the adapter does not fit the model")

// checkAdapter refuses an adapter that was trained on other weights.
func checkAdapter(a *adapter.Adapter, c *Config, sha256 string) error {
	if a.Info.BaseSHA256 != "" && a.Info.BaseSHA256 != sha256 {
		return fmt.Errorf("%w: it was trained on %s with sha256 %.12s…, this file has %.12s…", ErrAdapter, a.Info.Base, a.Info.BaseSHA256, sha256)
	}
	for _, k := range a.Keys() {
		p, ok := c.Projection(k.Target)
		if pair := a.Pairs[k]; !ok || k.Layer >= c.Layers || pair.In != p.In || pair.Out != p.Out {
			return fmt.Errorf("%w: it has layer %d, %s of [%d, %d]; the model has %d layers, of [%d, %d]", ErrAdapter, k.Layer, k.Target, pair.Out, pair.In, c.Layers, p.Out, p.In)
		}
	}
	return nil
}

// merge adds alpha/rank · B·A to the weights.
func (w *weights) merge(c *Config, a *adapter.Adapter) error {
	for _, k := range a.Keys() {
		p, _ := c.Projection(k.Target)
		if err := tensors.MutableFlatData(w.layer[k.Layer][p.Tensor], func(flat []float32) {
			mergePair(flat[p.Row*p.In:][:p.Out*p.In], a.Pairs[k], a.Rank, float32(a.Scale()))
		}); err != nil {
			return fmt.Errorf("merging the adapter: %w", err)
		}
	}
	return nil
}

// mergePair adds scale · B·A to w [Out, In], its rows shared out over the cores.
func mergePair(w []float32, p adapter.Pair, rank int, scale float32) {
	workers := runtime.GOMAXPROCS(0)
	var wg sync.WaitGroup
	for n := range workers {
		wg.Go(func() {
			for o := n; o < p.Out; o += workers {
				row := w[o*p.In:][:p.In]
				for r, b := range p.B[o*rank:][:rank] {
					b *= scale
					for i, v := range p.A[r*p.In:][:p.In] {
						row[i] += b * v
					}
				}
			}
		})
	}
	wg.Wait()
}

// PromptTemplate implements llm.Tuned.
func (m *Model) PromptTemplate() (name, sha256 string) {
	if m.adapter == nil {
		return "", ""
	}
	return m.adapter.Info.Template, m.adapter.Info.TemplateHash
}
