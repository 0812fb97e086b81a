package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/budgetmem/budgetmem/bmem/setup"
	"github.com/budgetmem/budgetmem/internal/backend"
	"github.com/budgetmem/budgetmem/internal/models"
	"github.com/budgetmem/budgetmem/serve"
	"github.com/budgetmem/budgetmem/tiers/llm/local"
)

// catalogueSource opens the language models of the catalogue that are on this machine, also with the adapters that have names. Those of
// one file share their weights.
type catalogueSource struct {
	catalogue *models.Catalogue
	backend   *backend.Backend
	log       *slog.Logger
	shared    local.Shared
}

// Names implements serve.Source.
func (c *catalogueSource) Names(ctx context.Context) []string {
	var names []string
	for _, m := range c.catalogue.Models {
		if m.Name != setup.Embedder && c.catalogue.Present(ctx, m.Name) {
			names = append(names, m.Name)
		}
	}
	adapters, err := c.catalogue.Adapters()
	if err != nil {
		c.log.Warn("no adapters are listed", "why", err)
	}
	for _, a := range adapters {
		if slices.Contains(names, a.Base) {
			names = append(names, a.Base+"+"+a.Name)
		}
	}
	return names
}

// Size implements serve.Source.
func (c *catalogueSource) Size(ctx context.Context, name string) (int64, error) {
	file, err := c.find(ctx, name)
	if err != nil {
		return 0, err
	}
	return local.MemoryNeeded(file.Path)
}

// Open implements serve.Source.
func (c *catalogueSource) Open(ctx context.Context, name string) (serve.ClosableModel, error) {
	file, err := c.find(ctx, name)
	if err != nil {
		return nil, err
	}
	m, err := c.open(file)
	if err != nil {
		return nil, err
	}
	return m, nil
}

// find is where a model of the catalogue lies, and an adapter that has a name. Other files are opened only for who starts the
// server.
func (c *catalogueSource) find(ctx context.Context, name string) (models.Located, error) {
	base, adapter, tuned := strings.Cut(name, "+")
	if m, err := c.catalogue.Find(base); err != nil {
		return models.Located{}, err
	} else if m.Name == setup.Embedder {
		return models.Located{}, fmt.Errorf("%s is no language model", name)
	}
	path, err := c.catalogue.Path(ctx, base)
	file := models.Located{Name: name, Path: path}
	if err != nil || !tuned {
		return file, err
	}
	adapters, err := c.catalogue.Adapters()
	for _, a := range adapters {
		if a.Name == adapter && a.Base == base {
			file.Adapter = a.Dir
			return file, nil
		}
	}
	return file, cmp.Or(err, fmt.Errorf("model %s: no adapter of %s is called %q: `bmem models list` shows all", name, base, adapter))
}

func (c *catalogueSource) open(file models.Located) (*local.Model, error) {
	m, err := local.Open(file.Path, c.backend, local.Options{Name: file.Name, Adapter: file.Adapter, Shared: &c.shared})
	if err == nil {
		c.log.Info("opened", "model", file.Name, "context", m.Context(), "backend", c.backend.Kind)
	}
	return m, err
}
