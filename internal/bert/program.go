package bert

import (
	"context"
	"errors"
	"sync"

	"github.com/gomlx/compute"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/budgetmem/budgetmem/internal/osmem"
)

// errClosed is what a program that was closed returns.
var errClosed = errors.New("the model is closed")

// Program runs a graph over batches, with the weights on the device. It is safe for concurrent use.
type Program struct {
	mu      sync.Mutex // serialises the device, and with it the building of graphs, which GoMLX wants
	exec    *graph.Exec
	weights []any
	ran     map[[2]int]bool // sizes of batches
}

// NewProgram puts weights behind the inputs of a graph, such as Config.Embeddings. Each shape of a batch is compiled when it comes first,
// which takes up to a second on XLA; Batches makes few.
func NewProgram(be compute.Backend, build func([]*graph.Node) *graph.Node, weights []Tensor) (*Program, error) {
	p := &Program{ran: map[[2]int]bool{}}
	for _, w := range weights {
		p.weights = append(p.weights, tensors.FromFlatDataAndDimensions(w.Data, w.Dims...))
	}
	var err error
	if p.exec, err = graph.NewExec(be, build); err != nil {
		return nil, err
	}
	p.exec.SetMaxCache(-1) // Batches bounds the number of shapes
	return p, nil
}

// Run returns the graph's output for a batch, row by row. Inputs are token ids [Size, Length], then each of perRow [Size].
func (p *Program) Run(ctx context.Context, b Batch, ids []int32, perRow ...[]int32) ([]float32, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if p.exec == nil {
		return nil, errClosed
	}
	inputs := []*tensors.Tensor{tensors.FromFlatDataAndDimensions(ids, b.Size, b.Length)}
	for _, values := range perRow {
		inputs = append(inputs, tensors.FromFlatDataAndDimensions(values, b.Size))
	}
	var args []any
	for _, t := range inputs {
		args = append(args, t)
	}
	result, err := p.exec.Call1(append(args, p.weights...)...)
	for _, t := range inputs {
		err = errors.Join(err, t.FinalizeAll())
	}
	if err != nil {
		return nil, err
	}
	if size := [2]int{b.Size, b.Length}; !p.ran[size] {
		p.ran[size] = true
		osmem.GiveBack() // compiling leaves much behind
	}
	flat, err := tensors.CopyFlatData[float32](result)
	return flat, errors.Join(err, result.FinalizeAll())
}

// Close frees the weights. A Run after it fails.
func (p *Program) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.exec == nil {
		return nil
	}
	p.exec.Finalize()
	p.exec = nil
	var err error
	for _, w := range p.weights {
		err = errors.Join(err, w.(*tensors.Tensor).FinalizeAll())
	}
	p.weights = nil
	return err
}
