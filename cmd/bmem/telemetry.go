package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"time"

	"github.com/spf13/pflag"

	"github.com/budgetmem/budgetmem/bmem/setup"
	"github.com/budgetmem/budgetmem/internal/closers"
	"github.com/budgetmem/budgetmem/serve"
	"github.com/budgetmem/budgetmem/serve/api"
	"github.com/budgetmem/budgetmem/telemetry"
)

// watch is how a command is seen from outside while it runs. The zero value is not seen.
type watch struct {
	service string // its name in traces; "" for bmem
	// metricsAddr is where metrics are served; "" for nowhere. profiles serves those of the program beside them.
	metricsAddr string
	profiles    bool

	started  bool
	metrics  *telemetry.Metrics  // nil for none
	observer *telemetry.Observer // nil for none
	closers  closers.Stack
}

// bind defines the flags of commands that run for long.
func (w *watch) bind(flags *pflag.FlagSet) {
	flags.StringVar(&w.metricsAddr, "metrics-addr", "", "serve metrics for Prometheus at /metrics of this `host:port`, such as 127.0.0.1:9090; other machines need the token in $"+api.EnvToken)
	flags.BoolVar(&w.profiles, "pprof", false, "with --metrics-addr, serve Go's profiles at /debug/pprof/ beside the metrics")
}

// open starts what was asked for, by flags or by OpenTelemetry's environment variables, unless that is done. Notes go to out.
func (w *watch) open(ctx context.Context, out io.Writer) (err error) {
	if w.started {
		return nil
	}
	w.started = true
	defer func() {
		if err != nil {
			err = errors.Join(err, w.Close())
		}
	}()
	if w.profiles && w.metricsAddr == "" {
		return errors.New("--pprof: say where, by --metrics-addr")
	}
	if w.metricsAddr != "" {
		w.metrics = telemetry.NewMetrics()
		if err := w.listen(ctx, out); err != nil {
			return fmt.Errorf("--metrics-addr: %w", err)
		}
	}
	return w.observe(ctx, func(line string) { fmt.Fprintln(out, "note:", line) })
}

// observe makes the observer, if there are metrics or traces are asked for.
func (w *watch) observe(ctx context.Context, warn func(string)) error {
	wanted, err := telemetry.Wanted()
	if err != nil {
		return err
	}
	if wanted {
		service := "bmem"
		if w.service != "" {
			service += "-" + w.service
		}
		p, err := telemetry.NewProvider(ctx, service, version(), warn)
		if err != nil {
			return err
		}
		w.closers.Add(func() error { return telemetry.Shutdown(ctx, p) })
		w.observer = telemetry.New(w.metrics, p)
	} else if w.metrics != nil {
		w.observer = telemetry.New(w.metrics, nil)
	}
	return nil
}

// listen serves metrics at an address of their own.
func (w *watch) listen(ctx context.Context, out io.Writer) error {
	addr := w.metricsAddr
	if host, port, err := net.SplitHostPort(addr); err == nil && host == "" {
		addr = net.JoinHostPort("127.0.0.1", port)
	}
	token := os.Getenv(api.EnvToken)
	ln, err := serve.Listen(addr, token != "")
	if err != nil {
		return err
	}
	server, err := serve.New(serve.Config{Token: token, Operator: w.operator(w.profiles), Grace: time.Second, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx)) // to the end of the command, which an interrupt only begins
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(ctx, ln) // a scrape that was broken off is no failure of the command
	}()
	w.closers.Add(func() error {
		stop()
		<-ended
		return nil
	})
	fmt.Fprintf(out, "metrics at http://%s/metrics\n", ln.Addr())
	return nil
}

// operator are the handlers for the owner alone.
func (w *watch) operator(profiles bool) map[string]http.Handler {
	handlers := map[string]http.Handler{}
	if w.metrics != nil {
		handlers["/metrics"] = w.metrics.Handler()
	}
	if profiles {
		handlers["/debug/pprof/"] = http.HandlerFunc(pprof.Index)
		handlers["/debug/pprof/profile"] = http.HandlerFunc(pprof.Profile)
		handlers["/debug/pprof/symbol"] = http.HandlerFunc(pprof.Symbol)
		handlers["/debug/pprof/trace"] = http.HandlerFunc(pprof.Trace)
	}
	return handlers
}

// into has a system watched that is about to be opened.
func (w *watch) into(s *setup.Spec) {
	if w.observer != nil {
		s.Observer = w.observer
	}
}

// sees reads metrics from a system until stop is called.
func (w *watch) sees(sys *setup.System) (stop func() error) {
	if w.metrics == nil {
		return func() error { return nil }
	}
	end := w.metrics.Watch(telemetry.Sources{Endpoints: sys.Endpoints, Ledger: sys.Ledger})
	return func() error { end(); return nil }
}

// Close sends the last spans and ends the serving of metrics.
func (w *watch) Close() error { return w.closers.Close() }

// closingEngine is an engine with more to close after it.
type closingEngine struct {
	setup.Engine
	more closers.Stack
}

// Close implements setup.Engine.
func (e *closingEngine) Close() error { return errors.Join(e.Engine.Close(), e.more.Close()) }
