package tune

import (
	"errors"
	"fmt"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/budgetmem/budgetmem/tiers/llm/local"
)

// programs runs the decoder's graphs on a backend, with the base model's weights as inputs.
type programs struct {
	be   compute.Backend
	base *local.Base
	from int // first adapted layer

	frozen, gradients, losses *graph.Exec
	frozenWeights, topWeights []any // of the layers below from, and of those above
	head, norm                *tensors.Tensor
}

func newPrograms(be compute.Backend, base *local.Base, d decoder) (*programs, error) {
	m := &programs{be: be, base: base, from: d.from}
	m.head, m.norm = base.Head()
	for l := range base.Config.Layers {
		for _, t := range base.Layer(l) {
			if l < d.from {
				m.frozenWeights = append(m.frozenWeights, t)
			} else {
				m.topWeights = append(m.topWeights, t)
			}
		}
	}
	below := d
	below.from, below.to, below.keys = 0, d.from, nil
	var errs [3]error
	m.frozen, errs[0] = graph.NewExec(be, below.frozen)
	m.gradients, errs[1] = graph.NewExec(be, d.gradients)
	m.losses, errs[2] = graph.NewExec(be, d.losses)
	return m, errors.Join(errs[:]...)
}

func (m *programs) finalize() {
	for _, e := range []*graph.Exec{m.frozen, m.gradients, m.losses} {
		if e != nil {
			e.Finalize()
		}
	}
}

// freeFrozen gives back the memory of the frozen layers and their program.
func (m *programs) freeFrozen() {
	for l := range m.from {
		m.base.FreeLayer(l)
	}
	m.frozenWeights = nil
	m.frozen.Finalize()
	m.frozen = nil
}

// vectors returns the vectors of a pack's tokens, [size, Dim].
func (m *programs) vectors(p *packer, k pack) (*tensors.Tensor, error) {
	tokens := make([]int32, 0, k.size)
	for _, i := range k.members {
		tokens = append(tokens, p.seqs[i].tokens...)
	}
	dim := m.base.Config.Dim
	x, err := tensors.FromShapeForBackend(m.be, 0, shapes.Make(dtypes.Float32, k.size, dim))
	if err != nil {
		return nil, fmt.Errorf("allocating vectors of tokens: %w", err)
	}
	var looked error
	err = tensors.MutableFlatData(x, func(flat []float32) {
		clear(flat[len(tokens)*dim:])
		looked = m.base.Embed(flat[:len(tokens)*dim], tokens)
	})
	if err := errors.Join(err, looked); err != nil {
		x.FinalizeAll()
		return nil, err
	}
	return x, nil
}

// args are the inputs of the programs over the adapted layers, but for the adapter.
func (m *programs) args(x *tensors.Tensor, k pack, l layout) []any {
	in := []any{x, l.position, tensors.FromFlatDataAndDimensions(l.mask, k.size, k.size), l.rows, l.next, l.weight, m.head, m.norm}
	return append(in, m.topWeights...)
}
