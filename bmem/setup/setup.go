// Package setup puts a memory together from names: which model answers, what runs it, what may be spent. It is what the
// command line does with its flags, for programs and notebooks that want the same:
//
//	sys, err := setup.Open(ctx, setup.Spec{Engine: inprocess.New("", nil)})
package setup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/budgetmem/budgetmem/bmem"
	"github.com/budgetmem/budgetmem/bmem/embed"
	"github.com/budgetmem/budgetmem/bmem/retrieve"
	"github.com/budgetmem/budgetmem/internal/closers"
	"github.com/budgetmem/budgetmem/internal/models"
	"github.com/budgetmem/budgetmem/router/cascade"
	"github.com/budgetmem/budgetmem/tiers"
	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/openai"
	"github.com/budgetmem/budgetmem/tiers/text"
)

// EnvCache names the environment variable with the folder that memories and replies are kept in. Without it that is
// budgetmem in the user's cache folder.
const EnvCache = "BUDGETMEM_CACHE"

// Embedder is the catalogue's name of the embedder.
const Embedder = "all-minilm-l6-v2"

// Spec says what to put together. With nothing but an Engine it is the default local model, with no spend limit.
type Spec struct {
	// Engine runs what is on this machine: at least the embedder, unless it is at an endpoint, and the tokenizer that chunks are
	// measured with. The System closes it.
	Engine Engine
	// Model is a name of the models catalogue or the path of a GGUF file; "" means the best that is there. With Endpoints
	// it is the name that these know the model by.
	Model string
	// Endpoints are base URLs of OpenAI-compatible endpoints, which then serve the model instead of this machine.
	Endpoints []string
	// KeyEnv names the environment variables with the endpoints' keys. With one endpoint they are all its own; with several
	// there is one for each, in order, NoKey for none. URL=NAME binds a key to the endpoint of a NAME@URL. A key is sent
	// to its own endpoint's origin and to no other; one for an endpoint where no model is, is an error.
	KeyEnv []string
	// Later are models that OpenModel opens afterwards, such as judges. KeyEnv may have keys for their endpoints.
	Later []string
	// Models are settings of models by name: output limits, parameters, headers and so on.
	Models llm.Models
	// Warn, if not nil, is called with lines for the user, such as that an endpoint wants another parameter. It must be safe
	// for concurrent use.
	Warn func(message string)
	// Timeout bounds one attempt of a call to an endpoint (default openai.DefaultTimeout). A small server with a long queue needs more.
	Timeout time.Duration
	// Fallback are models that answer in place of Model where all of its endpoints fail, in order, each written as OpenModel takes it.
	// Settings of Models may name such for any model.
	Fallback []string
	// Hedge asks a second one of several Endpoints where the first takes longer than for nearly all calls; see llm.StackOptions.
	Hedge bool
	// Embedder is NAME@URL, an embedding model at the endpoint of that base URL, with a price like other models; "" means the
	// one on this machine, Embedder. Chunks are measured with that one's tokenizer in both cases.
	Embedder string
	// Prices is a file of prices over the built-in ones. AllowUnpriced lets a model without a price count as free.
	Prices        string
	AllowUnpriced bool
	// Retrieval is how chunks are found where a question does not say; "" is retrieve.Hybrid. It says what is embedded when turns are added.
	Retrieval retrieve.Mode
	// CacheDir keeps memories and replies; "" means what EnvCache names.
	CacheDir string
	// Store is where memories lie; see OpenStore. Replies and what else is in CacheDir stay there.
	Store string
	// MaxDollars limits spending; 0 means no limit. The limit holds over all processes that name the same LedgerFile; ""
	// limits this process alone.
	MaxDollars float64
	LedgerFile string
	// Allowance, if not nil, is a limit that several machines share, in place of MaxDollars. Replies, if not nil, are those that they
	// share.
	Allowance llm.Allowance
	Replies   llm.SharedReplies
	// ChunkTokens is the size of chunks in tokens (default bmem.DefaultChunkTokens).
	ChunkTokens int
	// AnswerSamples is how many replies an answer call samples; see bmem.Options.
	AnswerSamples int
	// Calibration is a file of 'bmem calibrate', which gives answers a confidence, or ShippedCalibration; "" means none. LogProbs asks for the
	// log-probabilities of answers without one; see bmem.Options.
	Calibration string
	LogProbs    bool
	// Dates is the order of day, month and year in numeric times: dmy, mdy or ymd; "" decides it for each memory from its times.
	Dates string
	// Tiers is the tier set: the name of a shipped one or a YAML file (default tiers.ImplementationAxis). TierOptions are
	// settings of the tiers.
	Tiers       string
	TierOptions tiers.Options
	// Roles are the models that the tier set names by a role such as "small", each written as OpenModel takes it. Those not
	// named get the default models of the shipped sets' roles.
	Roles map[string]string
	// IngestOnly opens no language model: the System's Memory can add, search and forget, and Ask is refused with ErrIngestOnly.
	IngestOnly bool
	// Progress, if not nil, is told how many of a memory's texts are embedded.
	Progress func(memory string, done, total int)
	// Observer, if not nil, watches questions, the calls of models and requests to endpoints.
	Observer Observer
}

// Observer watches what a System does, to trace or to count it. It is safe for concurrent use.
type Observer interface {
	bmem.Observer
	// Calls returns the outermost layer around the calls of a model, which sees replies from the cache too.
	Calls(model string, local bool) llm.Middleware
	// Transport wraps what sends the requests to endpoints; see openai.Config.
	Transport(http.RoundTripper) http.RoundTripper
}

// System is a memory with everything that it works with.
type System struct {
	Memory *bmem.Memory
	// Client is the answering model with prices, limit, retries and cache around it.
	Client llm.Client
	Price  llm.Price
	// Fallback are the models that answer in its place where its endpoints fail.
	Fallback []Model
	// Tiers is the tier set, and Roles are the models that it names.
	Tiers tiers.Spec
	Roles map[string]Model
	// Ledger holds the spend limit; nil without one.
	Ledger *llm.Ledger
	// EmbedderID names the embedder with its weights.
	EmbedderID string
	// Backend is what computes the local models, by the Engine's name, such as "go" or "xla:cpu"; "none" where no model is local.
	Backend string
	// Local says whether the answering model runs on this machine.
	Local bool
	// Chosen is one line on how the model was chosen when none was named; Warnings are what users should know of it.
	Chosen   string
	Warnings []string

	spec      Spec
	cacheDir  string
	catalogue *models.Catalogue
	prices    llm.Prices
	cache     *llm.Cache
	keys      *keyring
	opened    map[whereabouts]Model
	closers   closers.Stack

	mu        sync.Mutex
	embedded  llm.Usage
	endpoints []*openai.Client
}

// Open opens everything. The caller closes the System.
func Open(ctx context.Context, s Spec) (*System, error) {
	if s.Engine == nil {
		return nil, errors.New("set up a memory: Spec.Engine is nil; give it one, such as inprocess.New")
	}
	sys := &System{spec: s, opened: map[whereabouts]Model{}, Roles: map[string]Model{}}
	sys.closers.Add(s.Engine.Close)
	if err := sys.open(ctx); err != nil {
		return nil, errors.Join(err, sys.Close())
	}
	return sys, nil
}

// Close closes everything, the last opened first.
func (sys *System) Close() error { return sys.closers.Close() }

func (sys *System) open(ctx context.Context) (err error) {
	s := sys.spec
	dates, err := text.ParseDateOrder(s.Dates)
	if err != nil {
		return err
	}
	if sys.Tiers, err = tiers.LoadSpec(s.tierSet()); err != nil {
		return err
	}
	if err := s.checkRoles(sys.Tiers); err != nil {
		return err
	}
	var calibration *cascade.Calibration
	if s.Calibration != "" && s.Calibration != ShippedCalibration {
		if calibration, err = cascade.ReadFile(s.Calibration); err != nil {
			return err
		}
	}
	if sys.keys, err = s.keys(); err != nil {
		return err
	}
	dir, err := CacheDir(s.CacheDir)
	if err != nil {
		return err
	}
	sys.cacheDir = dir
	// A server that does not answer is found before anything slow is opened.
	memories, err := OpenStore(ctx, s.Store, dir)
	if err != nil {
		return err
	}
	handedOver := false // to a Memory, which closes it
	defer func() {
		if !handedOver {
			err = errors.Join(err, memories.Close())
		}
	}()
	if sys.catalogue, err = models.Open(); err != nil {
		return err
	}
	// The weights are looked for before anything slow is opened.
	embedderDir, err := sys.catalogue.Path(ctx, Embedder)
	if err != nil {
		return err
	}
	if err := sys.openMoney(ctx, filepath.Join(dir, RepliesFile)); err != nil {
		return err
	}
	embedder, tokenizer, err := sys.openEmbedder(ctx, embedderDir)
	if err != nil {
		return err
	}
	sys.EmbedderID = embedder.ID()

	answering := Model{Client: noModel{}}
	if !s.IngestOnly {
		if answering, err = sys.OpenModel(ctx, s.Model); err != nil {
			return err
		}
	}
	sys.Client, sys.Price, sys.Local, sys.Fallback = answering.Client, answering.Price, answering.Local, answering.Fallback
	if m, err := sys.catalogue.Find(sys.Client.Model()); err == nil && sys.Local && m.Warning != "" {
		sys.Warnings = append(sys.Warnings, m.Name+": "+m.Warning)
	}
	if s.Calibration == ShippedCalibration {
		if calibration, err = s.shippedCalibration(answering); err != nil {
			return err
		}
	}
	clients := map[string]llm.Client{}
	for _, role := range sys.Tiers.Models() {
		if s.IngestOnly {
			clients[role] = noModel{}
			continue
		}
		m, err := sys.OpenModel(ctx, cmp.Or(s.Roles[role], s.defaultRole(role)))
		if err != nil {
			return fmt.Errorf("model in the role %q: %w", role, err)
		}
		sys.Roles[role], clients[role] = m, m.Client
	}
	sys.Backend = cmp.Or(s.Engine.Name(), "none")
	handedOver = true
	sys.Memory, err = bmem.Open(ctx, bmem.Options{Store: memories, Embedder: embedder, Tokenizer: tokenizer,
		Client: sys.Client, Models: clients, Replies: sys.cache, Tiers: sys.Tiers.Build, ChunkTokens: s.ChunkTokens, Retrieval: s.Retrieval, Dates: dates, AnswerSamples: s.AnswerSamples, Calibration: calibration, LogProbs: s.LogProbs, TierOptions: s.TierOptions, Progress: s.Progress, Observer: observerOf(s.Observer)})
	if err != nil {
		return err
	}
	sys.closers.Add(sys.Memory.Close)
	return nil
}

func (s *Spec) tierSet() string { return cmp.Or(s.Tiers, tiers.ImplementationAxis) }

// observerOf is nil for no observer.
func observerOf(o Observer) bmem.Observer {
	if o == nil {
		return nil
	}
	return o
}

// openEmbedder opens what embeds and what measures chunks. The weights in dir are left alone where an endpoint embeds.
func (sys *System) openEmbedder(ctx context.Context, dir string) (embed.Embedder, embed.Tokenizer, error) {
	if sys.spec.Embedder == "" {
		m, err := sys.spec.Engine.Embedder(ctx, Embedder, dir)
		return m, m, err
	}
	tokenizer, err := embed.OpenTokenizer(dir)
	if err != nil {
		return nil, nil, err
	}
	embedder, err := sys.endpointEmbedder(ctx)
	return embedder, tokenizer, err
}

// The stores in the cache folder.
const (
	MemoryFile  = "memory.db"
	RepliesFile = "replies.db"
)

// CacheDir returns the folder of a Spec.CacheDir, and makes it: dir, else what EnvCache names, else one in the user's
// cache folder.
func CacheDir(dir string) (string, error) {
	dir = cmp.Or(dir, os.Getenv(EnvCache))
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("no folder to keep memories in (set %s): %w", EnvCache, err)
		}
		dir = filepath.Join(cache, "budgetmem")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make the folder that memories are kept in: %w", err)
	}
	return dir, nil
}

// ErrIngestOnly: a question was asked of a System that was opened without a model to answer it.
var ErrIngestOnly = errors.New("opened without a language model")

// noModel stands for the models of a System that opens none.
type noModel struct{}

func (noModel) Model() string { return "none" }
func (noModel) ID() string    { return "none" }
func (noModel) Chat(context.Context, llm.Request) (llm.Response, error) {
	return llm.Response{}, ErrIngestOnly
}
