package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/budgetmem/budgetmem/bmem/embed"
	"github.com/budgetmem/budgetmem/bmem/setup"
	"github.com/budgetmem/budgetmem/internal/backend"
	"github.com/budgetmem/budgetmem/internal/closers"
	"github.com/budgetmem/budgetmem/internal/models"
	"github.com/budgetmem/budgetmem/serve"
	"github.com/budgetmem/budgetmem/tiers/llm/local"
)

func newServeCmd() *cobra.Command {
	config := serve.Config{MaxQueue: serve.DefaultMaxQueue, MaxBody: serve.DefaultMaxBody, Grace: serve.DefaultGrace}
	var addr, spec string
	var names []string
	var asJSON, verbose bool
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Put local models behind an OpenAI-compatible endpoint",
		Long: `Put local models behind an OpenAI-compatible endpoint: /v1/chat/completions (streamed or whole, with JSON mode),
/v1/embeddings, /v1/models and /health. One process keeps weights, compiled programs and prefix caches warm for all clients,
and batches over them.

Without a token the server listens on loopback only. With one in $` + serve.EnvToken + ` clients send it as their API key,
and other addresses may be served too; put a proxy with TLS before those.

SIGTERM or an interrupt lets it finish what is in flight and end.`,
		Example: `  bmem serve
  bmem serve --model smollm2-135m-instruct --model qwen2.5-coder-0.5b-instruct
  bmem ask --memory talk.jsonl --endpoint http://` + serve.DefaultAddr + `/v1 --model qwen2.5-coder-0.5b-instruct "Where does Ann live?"`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			config.Log = newLog(cmd.ErrOrStderr(), asJSON, verbose)
			config.Token = os.Getenv(serve.EnvToken)
			ln, err := serve.Listen(addr, config.Token) // before anything slow
			if err != nil {
				return err
			}
			defer ln.Close()
			local, err := openLocal(cmd.Context(), spec, names, config.Log)
			if err != nil {
				return err
			}
			defer closing(local, &err)
			config.Chats, config.Embedder = local.chats, local.embedder
			server, err := serve.New(config)
			if err != nil {
				return err
			}
			url := "http://" + ln.Addr().String() + "/v1"
			if asJSON {
				err = writeJSON(cmd.OutOrStdout(), map[string]any{"url": url, "models": server.Models()})
			} else {
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "serving %s at %s\n", strings.Join(server.Models(), ", "), url)
			}
			if err != nil {
				return err
			}
			return server.Serve(cmd.Context(), ln)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&addr, "addr", serve.DefaultAddr, "`host:port` to listen on; port 0 takes a free one")
	flags.StringArrayVar(&names, "model", nil, "language `model`: a name that 'bmem models list' shows, or a GGUF file; may be repeated (default the best that is here)")
	flags.StringVar(&spec, "backend", "", "what computes: "+backend.Specs+" (default $"+backend.Env+", else auto)")
	flags.IntVar(&config.MaxQueue, "max-queue", config.MaxQueue, "requests in work or waiting at one time; more are refused with 429")
	flags.Int64Var(&config.MaxBody, "max-body", config.MaxBody, "bytes that a request may have; larger ones are refused with 413")
	flags.DurationVar(&config.Grace, "grace", config.Grace, "how long requests in flight may take to finish at the end")
	flags.BoolVar(&asJSON, "json", false, "write the address and the log as JSON")
	flags.BoolVar(&verbose, "verbose", false, "log every request")
	return cmd
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

// localModels are the models to serve, with what they run on.
type localModels struct {
	chats    []serve.ChatModel
	embedder *serve.Embedder // nil if it is not on this machine
	closers.Stack
}

// openLocal opens the named language models, or the default one, and the embedder.
func openLocal(ctx context.Context, spec string, names []string, log *slog.Logger) (_ *localModels, err error) {
	l := &localModels{}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
		}
	}()
	catalogue, err := models.Open()
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		names = []string{""} // the default one
	}
	var files []models.Located
	for _, name := range names { // all of them, before anything slow
		f, err := catalogue.Locate(ctx, name)
		if err != nil {
			return nil, err
		}
		if f.Why != "" {
			log.Info("model " + f.Why)
		}
		files = append(files, f)
	}
	embedderDir, missing := catalogue.Path(ctx, setup.Embedder)
	if missing != nil && !errors.Is(missing, models.ErrMissing) {
		return nil, missing
	}
	be, err := backend.Open(spec, log)
	if err != nil {
		return nil, err
	}
	l.Add(func() error { be.Finalize(); return nil })
	for _, f := range files {
		m, err := local.Open(f.Path, be, local.Options{Name: f.Name})
		if err != nil {
			return nil, err
		}
		l.Add(m.Close)
		l.chats = append(l.chats, m)
		log.Info("opened", "model", f.Name, "context", m.Context(), "backend", be.Kind)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	defer debug.FreeOSMemory() // loading leaves much behind
	if missing != nil {
		log.Warn("no embeddings are served", "why", missing)
		return l, nil
	}
	m, err := embed.OpenMiniLM(embedderDir, be)
	if err != nil {
		return nil, err
	}
	l.Add(m.Close)
	l.embedder = &serve.Embedder{Name: setup.Embedder, Embedder: m, Tokenizer: m}
	return l, nil
}

// printServer shows what the server on this machine has computed.
func printServer(w io.Writer, h serve.Health) {
	fmt.Fprintf(w, "server\tup at %s, %d requests in work, %s resident\n", serve.DefaultAddr, h.Queue.Depth, humanize.Bytes(h.Memory.Resident))
	for _, m := range h.Models {
		fmt.Fprintf(w, "\t  %s %s", m.Kind, m.Name)
		if m.Computed != nil {
			fmt.Fprint(w, "; compiled for")
			for _, s := range m.Computed.Shapes {
				fmt.Fprintf(w, " %d×%d/%d", s.B, s.S, s.T)
			}
		}
		fmt.Fprintln(w)
	}
}
