// Package setup puts a memory together from names: which model answers, where it computes, what may be spent. It is what
// the command line does with its flags, for programs and notebooks that want the same.
package setup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/budgetmem/budgetmem/bmem"
	"github.com/budgetmem/budgetmem/bmem/embed"
	"github.com/budgetmem/budgetmem/internal/backend"
	"github.com/budgetmem/budgetmem/internal/models"
	"github.com/budgetmem/budgetmem/tiers"
	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/local"
	"github.com/budgetmem/budgetmem/tiers/llm/openai"
)

// EnvCache names the environment variable with the folder that memories and replies are kept in. Without it that is
// budgetmem in the user's cache folder.
const EnvCache = "BUDGETMEM_CACHE"

// Embedder is the catalogue's name of the embedder.
const Embedder = "all-minilm-l6-v2"

// Backends lists what Spec.Backend may be, for help texts.
const Backends = backend.Specs

// Spec says what to put together. Its zero value is the default local model, with no spend limit.
type Spec struct {
	// Backend computes the local models: one of Backends; "" means auto.
	Backend string
	// Model is a name of the models catalogue or the path of a GGUF file; "" means the best that is there. With Endpoints
	// it is the name that these know the model by.
	Model string
	// Endpoints are base URLs of OpenAI-compatible endpoints, which then serve the model instead of this machine; KeyEnv
	// names the environment variables with their keys, each used at every endpoint.
	Endpoints []string
	KeyEnv    []string
	// Prices is a file of prices over the built-in ones. AllowUnpriced lets a model without a price count as free.
	Prices        string
	AllowUnpriced bool
	// CacheDir keeps memories and replies; "" means what EnvCache names.
	CacheDir string
	// MaxDollars limits spending; 0 means no limit. The limit holds over all processes that name the same LedgerFile; ""
	// limits this process alone.
	MaxDollars float64
	LedgerFile string
	// ChunkTokens is the size of chunks in tokens (default bmem.DefaultChunkTokens).
	ChunkTokens int
	// TierOptions are settings of the tiers.
	TierOptions tiers.Options
	// Progress, if not nil, is told how many of a memory's texts are embedded.
	Progress func(memory string, done, total int)
}

// System is a memory with everything that it works with.
type System struct {
	Memory *bmem.Memory
	// Client is the answering model with prices, limit, retries, cache and statistics around it.
	Client llm.Client
	Price  llm.Price
	Stats  *llm.Stats
	// Ledger holds the spend limit; nil without one.
	Ledger *llm.Ledger
	// EmbedderID names the embedder with its weights.
	EmbedderID string
	// Backend is what computes the local models, such as "go" or "xla:cpu".
	Backend string
	// Local says whether the answering model runs on this machine.
	Local bool
	// Chosen is one line on how the model was chosen when none was named; Warnings are what users should know of it.
	Chosen   string
	Warnings []string

	closers []func() error
}

// Open opens everything. The caller closes the System.
func Open(ctx context.Context, s Spec, log *slog.Logger) (*System, error) {
	sys := &System{Stats: &llm.Stats{}}
	if err := sys.open(ctx, s, log); err != nil {
		return nil, errors.Join(err, sys.Close())
	}
	return sys, nil
}

// Close closes everything, the last opened first.
func (sys *System) Close() error {
	var errs []error
	for i := len(sys.closers) - 1; i >= 0; i-- {
		errs = append(errs, sys.closers[i]())
	}
	sys.closers = nil
	return errors.Join(errs...)
}

func (sys *System) onClose(f func() error) { sys.closers = append(sys.closers, f) }

func (sys *System) open(ctx context.Context, s Spec, log *slog.Logger) error {
	dir, err := s.cacheDir()
	if err != nil {
		return err
	}
	catalogue, err := models.Open()
	if err != nil {
		return err
	}
	// The weights are looked for before anything slow is opened.
	embedderDir, err := catalogue.Path(ctx, Embedder)
	if err != nil {
		return err
	}
	be, err := backend.Open(s.Backend, log)
	if err != nil {
		return err
	}
	sys.onClose(func() error { be.Finalize(); return nil })
	sys.Backend = string(be.Kind)
	embedder, err := embed.OpenMiniLM(embedderDir, be)
	if err != nil {
		return err
	}
	sys.onClose(embedder.Close)
	sys.EmbedderID = embedder.ID()

	base, err := sys.model(ctx, s, catalogue, be)
	if err != nil {
		return err
	}
	if err := sys.stack(s, base, filepath.Join(dir, "replies.db")); err != nil {
		return err
	}
	sys.Memory, err = bmem.Open(ctx, bmem.Options{Path: filepath.Join(dir, "memory.db"), Embedder: embedder, Tokenizer: embedder,
		Client: sys.Client, ChunkTokens: s.ChunkTokens, TierOptions: s.TierOptions, Progress: s.Progress})
	if err != nil {
		return err
	}
	sys.onClose(sys.Memory.Close)
	return nil
}

func (s Spec) cacheDir() (string, error) {
	dir := cmp.Or(s.CacheDir, os.Getenv(EnvCache))
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("no folder to keep memories in (set %s): %w", EnvCache, err)
		}
		dir = filepath.Join(cache, "budgetmem")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make the folder that memories are kept in: %w", err)
	}
	return dir, nil
}

// model opens the answering model: at an endpoint, from a file, or from the catalogue.
func (sys *System) model(ctx context.Context, s Spec, catalogue *models.Catalogue, be *backend.Backend) (llm.Client, error) {
	if len(s.Endpoints) > 0 {
		config := openai.Config{Model: s.Model}
		for _, url := range s.Endpoints {
			config.Endpoints = append(config.Endpoints, openai.Endpoint{BaseURL: url, KeyEnv: s.KeyEnv})
		}
		return openai.New(config)
	}
	sys.Local = true
	name, path := s.Model, s.Model
	if !strings.HasSuffix(strings.ToLower(name), ".gguf") {
		m, err := sys.choose(ctx, name, catalogue)
		if err != nil {
			return nil, err
		}
		name = m.Name
		if m.Warning != "" {
			sys.Warnings = append(sys.Warnings, m.Name+": "+m.Warning)
		}
		if path, err = catalogue.Path(ctx, name); err != nil {
			return nil, err
		}
	} else {
		name = strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
	}
	m, err := local.Open(path, be, local.Options{Name: name})
	if err != nil {
		return nil, err
	}
	sys.onClose(m.Close)
	return m, nil
}

func (sys *System) choose(ctx context.Context, name string, catalogue *models.Catalogue) (models.Model, error) {
	if name != "" {
		return catalogue.Find(name)
	}
	m, why, err := catalogue.Default(ctx)
	sys.Chosen = why
	return m, err
}

// stack puts prices, limit, retries, cache and statistics around the model.
func (sys *System) stack(s Spec, base llm.Client, cacheFile string) error {
	prices := llm.DefaultPrices()
	var err error
	if s.Prices != "" {
		if prices, err = llm.LoadPrices(s.Prices); err != nil {
			return err
		}
	}
	if s.AllowUnpriced {
		prices = prices.AllowUnpriced(base.Model())
	}
	if sys.Price, err = prices.Price(base.Model()); err != nil {
		return err
	}
	cache, err := llm.OpenCache(cacheFile)
	if err != nil {
		return err
	}
	sys.onClose(cache.Close)
	if s.MaxDollars > 0 {
		if s.LedgerFile != "" {
			sys.Ledger, err = llm.OpenLedger(s.LedgerFile, s.MaxDollars)
		} else {
			sys.Ledger, err = llm.NewLedger(s.MaxDollars)
		}
		if err != nil {
			return err
		}
		sys.onClose(sys.Ledger.Close)
	}
	sys.Client, err = llm.Stack(base, llm.StackOptions{Prices: prices, Ledger: sys.Ledger, Cache: cache, Stats: sys.Stats})
	return err
}
