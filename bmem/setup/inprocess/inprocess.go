// Package inprocess runs models in the process that asks them, on GoMLX with XLA or in pure Go.
package inprocess

import (
	"context"
	"log/slog"
	"os"

	"github.com/budgetmem/budgetmem/bmem/embed"
	"github.com/budgetmem/budgetmem/bmem/rerank"
	"github.com/budgetmem/budgetmem/bmem/setup"
	"github.com/budgetmem/budgetmem/internal/backend"
	"github.com/budgetmem/budgetmem/internal/closers"
	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/local"
)

// Backends lists the backends that New takes, for help texts.
const Backends = backend.Specs

// Check refuses a backend of an unknown form, before anything is opened.
func Check(spec string) error { return backend.Check(spec) }

// Engine is a setup.Engine. Opening models is for one goroutine at a time.
type Engine struct {
	spec    string
	log     *slog.Logger
	backend *backend.Backend // nil until the first model is opened
	shared  local.Shared     // weights of models with and without adapters
	closers closers.Stack
}

// New returns the engine of a backend, one of Backends; "" means auto. The backend is opened with the first model. A nil log
// means slog.Default.
func New(spec string, log *slog.Logger) *Engine { return &Engine{spec: spec, log: log} }

// Name implements setup.Engine: "go", "xla:cpu" or "xla:cuda".
func (e *Engine) Name() string {
	if e.backend == nil {
		return ""
	}
	return string(e.backend.Kind)
}

// Embedder implements setup.Engine.
func (e *Engine) Embedder(_ context.Context, _, dir string) (setup.Encoder, error) {
	if err := e.open(); err != nil {
		return nil, err
	}
	m, err := embed.OpenMiniLM(dir, e.backend)
	if err != nil {
		return nil, err
	}
	e.closers.Add(m.Close)
	return m, nil
}

// Model implements setup.Engine.
func (e *Engine) Model(_ context.Context, name, path, adapter string) (llm.Client, error) {
	if err := e.open(); err != nil {
		return nil, err
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		m, err := rerank.Open(path, e.backend)
		if err != nil {
			return nil, err
		}
		e.closers.Add(m.Close)
		return m, nil
	}
	m, err := local.Open(path, e.backend, local.Options{Name: name, Adapter: adapter, Shared: &e.shared})
	if err != nil {
		return nil, err
	}
	e.closers.Add(m.Close)
	return m, nil
}

func (e *Engine) open() (err error) {
	if e.backend == nil {
		if e.backend, err = backend.Open(e.spec, e.log); err != nil {
			return err
		}
		e.closers.Add(func() error { e.backend.Finalize(); return nil })
	}
	return nil
}

// Close implements setup.Engine.
func (e *Engine) Close() error { return e.closers.Close() }
