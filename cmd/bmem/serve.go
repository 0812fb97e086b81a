package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/budgetmem/budgetmem/bmem"
	"github.com/budgetmem/budgetmem/bmem/embed"
	"github.com/budgetmem/budgetmem/bmem/setup"
	"github.com/budgetmem/budgetmem/cmd/bmem/doctor"
	"github.com/budgetmem/budgetmem/internal/backend"
	"github.com/budgetmem/budgetmem/internal/closers"
	"github.com/budgetmem/budgetmem/internal/models"
	"github.com/budgetmem/budgetmem/serve"
	"github.com/budgetmem/budgetmem/serve/api"
	"github.com/budgetmem/budgetmem/serve/memory"
	"github.com/budgetmem/budgetmem/serve/registry"
	"github.com/budgetmem/budgetmem/telemetry"
	"github.com/budgetmem/budgetmem/tiers"
)

func newServeCmd() *cobra.Command {
	f := serveFlags{config: serve.Config{MaxQueue: serve.DefaultMaxQueue, MaxBody: serve.DefaultMaxBody, Grace: serve.DefaultGrace}}
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Put local models behind an OpenAI-compatible endpoint",
		Long: `Put local models behind an OpenAI-compatible endpoint: /v1/chat/completions (streamed or whole, with JSON mode),
/v1/embeddings, /v1/models and /health. One process keeps weights, compiled programs and prefix caches warm for all clients,
and batches over them.

With --on-demand every language model that 'bmem models list' shows as here is opened when it is first asked for. Where
--max-memory would be passed, the one that was idle longest is closed.

Without a token the server listens on loopback only. With one in $` + api.EnvToken + ` clients send it as their API key,
and other addresses may be served too; put a proxy with TLS before those.

With --memories agents get this user's memories too: over REST at /v1/memories, which /v1/openapi.json describes, and as MCP tools at
/v1/mcp, or for one memory alone at /v1/memories/NAME/mcp. The server's address in a browser is a page to look at them, to ask one
question under two budgets, and to see what was spent by day.

With --tenants FILE callers with tokens of their own get memories of their own, and a budget a question, an hour and a day that is never
passed. 'bmem serve token' makes a token. $` + api.EnvToken + ` then is the token of the owner, who has no budget.

--metrics serves numbers for Prometheus at /metrics, --pprof profiles at /debug/pprof/, both to the owner alone. Traces go to the collector
that $` + telemetry.EnvEndpoint + ` names, if it does.

SIGTERM or an interrupt lets it finish what is in flight and end.`,
		Example: `  bmem serve
  bmem serve --on-demand
  bmem serve --memories
  bmem serve --memories --tenants tenants.yaml
  bmem serve --memories --policy router:router.safetensors --lambda 0.3
  bmem serve --memories --metrics
  bmem serve --memories --store postgres://bmem@db.example.com/memories
  bmem serve --model smollm2-135m-instruct --model qwen2.5-coder-0.5b-instruct
  bmem ask --memory talk.jsonl --endpoint http://` + api.DefaultAddr + `/v1 --model qwen2.5-coder-0.5b-instruct "Where does Ann live?"`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.addr, "addr", api.DefaultAddr, "`host:port` to listen on; port 0 takes a free one")
	flags.StringArrayVar(&f.names, "model", nil, "language `model`: a name that 'bmem models list' shows, or a GGUF file; may be repeated (default the best that is here, or with --on-demand none)")
	flags.StringVar(&f.backend, "backend", "", "what computes: "+backend.Specs+" (default $"+backend.Env+", else auto)")
	flags.BoolVar(&f.onDemand, "on-demand", false, "open other models that are here when they are asked for")
	flags.StringVar(&f.maxMemory, "max-memory", "", "memory that models opened on demand may take together, such as `8GB` (default half of what is free)")
	flags.BoolVar(&f.withMemories, "memories", false, "also serve this user's memories, over REST at /v1/memories and as MCP tools at /v1/mcp; the first model answers")
	flags.StringVar(&f.system.spec.Tiers, "axis", tiers.ImplementationAxis, "what tiers of questions to memories differ in: "+strings.Join(tiers.Axes(), ", ")+", or a YAML `file` with a tier set of your own")
	flags.StringToStringVar(&f.system.spec.Roles, "role", nil, "model of a role that the tier set names, such as large=`NAME` of another --model, or NAME@URL of an endpoint; may be repeated")
	flags.StringArrayVar(&f.system.spec.KeyEnv, "api-key-env", nil, "environment `variable` that holds the key of a role's endpoint, as URL=NAME; may be repeated")
	bindRetrieval(flags, &f.system.spec)
	flags.StringVar(&f.system.spec.Calibration, "calibration", "", "`file` of 'bmem calibrate', by which answers from memories get a confidence")
	f.system.calibrated(flags)
	f.routed.bind(flags)
	flags.StringVar(&f.tenants, "tenants", "", "YAML `file` of callers with hashed tokens, namespaces and budgets; see docs/serve.md")
	flags.StringVar(&f.audit, "audit", "", "`file` that gets a line of JSON for each addition, edit, question, deletion, chat, score and embedding, without any text (default with --tenants: audit.jsonl in the cache folder)")
	flags.StringVar(&f.cache, "cache", "", "folder for memories and replies (default $"+setup.EnvCache+", else the user's cache folder)")
	flags.StringVar(&f.system.spec.Store, "store", "", storeUsage)
	flags.StringVar(&f.prices, "prices", "", "file of model prices over the built-in ones, which the answers from memories are counted by")
	flags.BoolVar(&f.allowUnpriced, "allow-unpriced", false, "let a model without a price answer from memories, and count it as free")
	flags.BoolVar(&f.shared, "shared", false, "be the one server that this user's notebooks share, as long as there are any")
	_ = flags.MarkHidden("shared") // what the notebook kernel starts
	flags.IntVar(&f.config.MaxQueue, "max-queue", f.config.MaxQueue, "requests that may run or wait at one time; more are refused with 429")
	flags.IntVar(&f.config.MaxPerClient, "max-per-client", 0, "of these, how many may come from one address (default half, without a limit on this machine)")
	flags.Int64Var(&f.config.MaxBody, "max-body", f.config.MaxBody, "bytes that a request may have; larger ones are refused with 413")
	flags.DurationVar(&f.config.Grace, "grace", f.config.Grace, "how long requests in flight may take to finish at the end")
	flags.BoolVar(&f.withMetrics, "metrics", false, "serve metrics for Prometheus at /metrics, to the owner alone")
	flags.BoolVar(&f.watch.profiles, "pprof", false, "serve Go's profiles at /debug/pprof/, to the owner alone")
	flags.BoolVar(&f.asJSON, "json", false, "write the address and the log as JSON")
	flags.BoolVar(&f.verbose, "verbose", false, "log every request")
	cmd.AddCommand(newServeTokenCmd())
	return cmd
}

// serveFlags are the flags of `bmem serve`.
type serveFlags struct {
	config          serve.Config
	addr, backend   string
	names           []string
	onDemand        bool
	maxMemory       string
	shared          bool
	withMemories    bool
	system          systemFlags // of the memories: tier set, roles, calibration
	routed          routedFlags
	routing         []bmem.Option
	tenants, audit  string
	cache, prices   string
	allowUnpriced   bool
	encoder         setup.Encoder // nil without embeddings
	withMetrics     bool
	watch           watch
	auditLog        io.Writer // nil for none
	asJSON, verbose bool
}

func (f *serveFlags) run(cmd *cobra.Command) (err error) {
	ctx := cmd.Context()
	f.config.Log = newLog(cmd.ErrOrStderr(), f.asJSON, f.verbose)
	f.config.Token = os.Getenv(api.EnvToken)
	published := func(string) error { return nil }
	if f.shared {
		f.addr, f.onDemand = "127.0.0.1:0", true
		r, err := registry.Default()
		if err != nil {
			return err
		}
		lock, ok, err := r.LockServer(ctx)
		if err != nil || !ok {
			return err // another process is the server
		}
		defer closing(lock, &err)
		ctx, published = lock.WhileUsed(ctx, registry.Linger), lock.Publish
	}
	if f.config.MaxMemory, err = f.memory(); err != nil {
		return err
	}
	if f.routing, err = f.checkMemories(cmd.Flags()); err != nil {
		return err
	}
	if err := f.observe(ctx); err != nil {
		return err
	}
	defer closing(&f.watch, &err)
	accounts, err := f.openTenants() // these and the address before anything slow
	if err != nil {
		return err
	}
	defer closing(accounts, &err)
	f.config.Activity = memory.NewActivity(f.auditLog, f.config.Log)
	ln, err := serve.Listen(f.addr, f.config.Token != "" || f.tenants != "")
	if err != nil {
		return err
	}
	defer ln.Close()
	opened, err := f.open(ctx)
	if err != nil {
		return err
	}
	defer closing(opened, &err)
	if f.withMemories {
		sys, serr := f.memories(ctx)
		if serr != nil {
			return serr
		}
		defer closing(sys, &err)
	}
	server, err := serve.New(f.config)
	if err != nil {
		return err
	}
	defer closing(server, &err)
	if m := f.watch.metrics; m != nil {
		m.Watch(telemetry.Sources{Queue: server.Queue, Tenants: f.config.Activity.Counters})
	}
	url := "http://" + ln.Addr().String() + "/v1"
	if f.asJSON {
		err = writeJSON(cmd.OutOrStdout(), map[string]any{"url": url, "models": server.Models()})
	} else {
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "serving %s at %s\n", f.what(server.Models()), url)
	}
	if err == nil {
		err = published(url)
	}
	if err != nil {
		return err
	}
	return server.Serve(ctx, ln)
}

// observe prepares metrics, traces and profiles, as far as they are asked for.
func (f *serveFlags) observe(ctx context.Context) error {
	f.watch.service = "serve"
	if f.withMetrics {
		f.watch.metrics = telemetry.NewMetrics()
	}
	if err := f.watch.observe(ctx, func(line string) { f.config.Log.Warn(line) }); err != nil {
		return err
	}
	if f.watch.observer != nil {
		f.config.Observer = f.watch.observer
	}
	f.config.Operator = f.watch.operator(f.watch.profiles)
	return nil
}

// what says what is served.
func (f *serveFlags) what(names []string) string {
	if f.onDemand {
		names = append(names, "and what is here on demand")
	}
	return strings.Join(names, ", ")
}

// memory is how much the models opened on demand may take, in bytes.
func (f *serveFlags) memory() (int64, error) {
	switch {
	case f.maxMemory != "":
		n, err := humanize.ParseBytes(f.maxMemory)
		if err != nil || n == 0 || n > math.MaxInt64 {
			return 0, fmt.Errorf("--max-memory %q: want a number of bytes such as 8GB", f.maxMemory)
		}
		return int64(n), nil
	case f.onDemand:
		return int64(doctor.MemoryFree() / 2), nil // 0, no limit, where the system does not tell
	}
	return 0, nil
}

func newLog(w io.Writer, asJSON, verbose bool) *slog.Logger {
	options := &slog.HandlerOptions{Level: slog.LevelInfo}
	if verbose {
		options.Level = slog.LevelDebug
	}
	if asJSON {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// open opens the named language models, or the default one, and the embedder. Closing what it returns closes them, and what
// they run on.
func (f *serveFlags) open(ctx context.Context) (_ *closers.Stack, err error) {
	l := &closers.Stack{}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
		}
	}()
	catalogue, err := models.Open()
	if err != nil {
		return nil, err
	}
	if len(f.names) == 0 && !f.onDemand {
		f.names = []string{""} // the default one
	}
	var files []models.Located
	for _, name := range f.names { // all of them, before anything slow
		file, err := catalogue.Locate(ctx, name)
		if err != nil {
			return nil, err
		}
		if file.Why != "" {
			f.config.Log.Info("model " + file.Why)
		}
		files = append(files, file)
	}
	embedderDir, missing := catalogue.Path(ctx, setup.Embedder)
	if missing != nil && !errors.Is(missing, models.ErrMissing) {
		return nil, missing
	}
	be, err := backend.Open(f.backend, f.config.Log)
	if err != nil {
		return nil, err
	}
	l.Add(func() error { be.Finalize(); return nil })
	f.config.Backend = string(be.Kind)
	here := &catalogueSource{catalogue: catalogue, backend: be, log: f.config.Log}
	if f.onDemand {
		f.config.Source = here
	}
	for _, file := range files {
		m, err := here.open(file)
		if err != nil {
			return nil, err
		}
		l.Add(m.Close)
		f.config.Chats = append(f.config.Chats, m)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	if missing != nil {
		f.config.Log.Warn("no embeddings are served", "why", missing)
		return l, nil
	}
	m, err := embed.OpenMiniLM(embedderDir, be)
	if err != nil {
		return nil, err
	}
	l.Add(m.Close)
	f.encoder = m
	f.config.Embedder = &serve.Embedder{Name: setup.Embedder, Embedder: m, Tokenizer: m}
	return l, nil
}

// printServer shows what the server on this machine has computed.
func printServer(w io.Writer, h api.Health) {
	fmt.Fprintf(w, "server\tup at %s, %d requests running or waiting, %s resident\n", api.DefaultAddr, h.Queue.Depth, humanize.Bytes(h.Memory.Resident))
	for _, m := range h.Models {
		fmt.Fprintf(w, "\t  %s %s", m.Kind, m.Name)
		if m.Computed != nil {
			fmt.Fprint(w, "; compiled for")
			for _, s := range m.Computed.Shapes {
				fmt.Fprintf(w, " %d×%d/%d", s.Sequences, s.Tokens, s.Cache)
			}
		}
		fmt.Fprintln(w)
	}
}
