package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/budgetmem/budgetmem/bmem/embed"
	"github.com/budgetmem/budgetmem/bmem/setup"
	"github.com/budgetmem/budgetmem/internal/backend"
)

// Speed is what the backend does here; 0 where it could not be measured.
type Speed struct {
	// GFLOPS is billions of floating-point operations a second, multiplying square matrices of float32.
	GFLOPS float64 `json:"gflops"`
	// TextsPerSecond is how many texts of probeTokens tokens are embedded in a second.
	TextsPerSecond float64 `json:"texts_per_second"`
}

const (
	probeTime   = 400 * time.Millisecond
	probeSize   = 768 // rows of the matrices
	probeTexts  = 16
	probeTokens = 64
)

// measure fills Speed. It takes one to two seconds.
func (r *Report) measure(ctx context.Context, be *backend.Backend) error {
	var err error
	if r.Speed.GFLOPS, err = matmulSpeed(ctx, be); err != nil {
		return err
	}
	for _, m := range r.Models {
		if m.Name == setup.Embedder && m.State == Here {
			r.Speed.TextsPerSecond, err = embedSpeed(ctx, be, m.Path)
		}
	}
	return err
}

func matmulSpeed(ctx context.Context, be *backend.Backend) (float64, error) {
	exec, err := graph.NewExec(be, func(a, b *graph.Node) *graph.Node { return graph.ReduceAllSum(graph.MatMul(a, b)) })
	if err != nil {
		return 0, err
	}
	defer exec.Finalize()
	values := make([]float32, probeSize*probeSize)
	for i := range values {
		values[i] = float32(i%7) - 3
	}
	a, b := tensors.FromFlatDataAndDimensions(values, probeSize, probeSize), tensors.FromFlatDataAndDimensions(values, probeSize, probeSize)
	runs, elapsed, err := repeat(ctx, func() error {
		out, err := exec.Call1(a, b)
		if err != nil {
			return err
		}
		_ = out.Value() // waits for the result
		return out.FinalizeAll()
	})
	if err != nil {
		return 0, fmt.Errorf("multiply matrices: %w", err)
	}
	return float64(runs) * 2 * probeSize * probeSize * probeSize / elapsed.Seconds() / 1e9, nil
}

func embedSpeed(ctx context.Context, be *backend.Backend, dir string) (speed float64, err error) {
	m, err := embed.OpenMiniLM(dir, be)
	if err != nil {
		return 0, err
	}
	defer func() {
		if cerr := m.Close(); err == nil {
			err = cerr
		}
	}()
	texts := make([]string, probeTexts)
	for i := range texts {
		texts[i] = strings.Repeat("word ", probeTokens-2) // and two special tokens
	}
	runs, elapsed, err := repeat(ctx, func() error {
		_, err := m.Embed(ctx, texts)
		return err
	})
	if err != nil {
		return 0, err
	}
	return float64(runs*len(texts)) / elapsed.Seconds(), nil
}

// repeat runs f once to warm up, as the first run compiles, and then for probeTime.
func repeat(ctx context.Context, f func() error) (runs int, elapsed time.Duration, err error) {
	if err := f(); err != nil {
		return 0, 0, err
	}
	for start := time.Now(); elapsed < probeTime; elapsed = time.Since(start) {
		if err := errors.Join(ctx.Err(), f()); err != nil {
			return 0, 0, err
		}
		runs++
	}
	return runs, elapsed, nil
}
