package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"github.com/budgetmem/budgetmem/bmem"
	"github.com/budgetmem/budgetmem/bmem/setup"
	"github.com/budgetmem/budgetmem/serve/mcp"
	"github.com/budgetmem/budgetmem/serve/memory"
	"github.com/budgetmem/budgetmem/telemetry"
	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/local/adapter"
)

// memories puts the memories behind the server, answered by the first of its models. The caller closes the system.
func (f *serveFlags) memories(ctx context.Context) (*setup.System, error) {
	if len(f.config.Chats) == 0 || f.encoder == nil {
		return nil, fmt.Errorf("--memories needs a model that is always open, and the embedder: give --model NAME, and run `bmem models pull %s` if it is missing", setup.Embedder)
	}
	spec := f.system.spec
	spec.Engine, spec.Model = opened{f}, cmp.Or(f.names[0], f.config.Chats[0].Model())
	spec.CacheDir, spec.Prices, spec.AllowUnpriced = f.cache, f.prices, f.allowUnpriced
	spec.Warn = func(message string) { f.config.Log.Info(message) }
	f.watch.into(&spec)
	sys, err := setup.Open(ctx, spec)
	if err != nil {
		return nil, fmt.Errorf("--memories: %w", err)
	}
	service := memory.New(sys.Memory, memory.Options{Activity: f.config.Activity, Log: f.config.Log, Routing: f.routing})
	if m := f.watch.metrics; m != nil {
		m.Watch(telemetry.Sources{Endpoints: sys.Endpoints, Ledger: sys.Ledger})
	}
	f.config.Memories = mcp.Routes(service, version(), f.config.MaxBody, f.config.Log)
	return sys, nil
}

// checkMemories finds flags about memories that cannot work before anything slow is done, and returns the options of questions that
// name no budget.
func (f *serveFlags) checkMemories(flags *pflag.FlagSet) ([]bmem.Option, error) {
	if !f.withMemories {
		for _, name := range []string{"axis", "role", "calibration", "store", "policy", "lambda", "api-key-env"} {
			if flags.Changed(name) {
				return nil, fmt.Errorf("--%s is about memories: add --memories", name)
			}
		}
		return nil, nil
	}
	return f.routed.options(flags, &f.system)
}

// opened is an engine of the models that the server has open. They stay the server's.
type opened struct{ *serveFlags }

// Name implements setup.Engine.
func (o opened) Name() string { return o.config.Backend }

// Embedder implements setup.Engine.
func (o opened) Embedder(context.Context, string, string) (setup.Encoder, error) {
	return o.encoder, nil
}

// Model implements setup.Engine.
func (o opened) Model(_ context.Context, name, _, folder string) (llm.Client, error) {
	for _, m := range o.config.Chats {
		if m.Model() != name {
			continue
		}
		if folder != "" {
			if _, err := adapter.ReadOf(folder, m.ID()); err != nil {
				return nil, fmt.Errorf("open model %s: %w", name, err)
			}
		}
		return m, nil
	}
	var names []string
	for _, m := range o.config.Chats {
		names = append(names, m.Model())
	}
	return nil, fmt.Errorf("the server has %s open, not %s: add --model %s", strings.Join(names, ", "), name, name)
}

// Close implements setup.Engine.
func (o opened) Close() error { return nil }
