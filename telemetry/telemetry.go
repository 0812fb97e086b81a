// Package telemetry shows a running program from outside: as metrics for Prometheus, and as traces by OpenTelemetry. Neither metrics nor
// spans hold what anybody asked, was answered or remembers, nor keys. The labels of metrics are names from the configuration: models,
// endpoints, modules, tiers, tenants.
//
// New makes a setup.Observer of a Metrics and a tracer provider; the packages that it watches know nothing of either library.
package telemetry

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/budgetmem/budgetmem/bmem"
	"github.com/budgetmem/budgetmem/bmem/setup"
	"github.com/budgetmem/budgetmem/tiers"
	"github.com/budgetmem/budgetmem/tiers/llm"
)

// scope is the name of the spans' instrumentation.
const scope = "github.com/budgetmem/budgetmem"

// Observer counts and traces what a program does. It is a setup.Observer. Safe for concurrent use.
type Observer struct {
	metrics *Metrics // nil for none
	tracer  trace.Tracer
	traced  bool
}

var _ setup.Observer = (*Observer)(nil)

// New returns an observer that counts in m and traces by p. Either may be nil.
func New(m *Metrics, p trace.TracerProvider) *Observer {
	o := &Observer{metrics: m, traced: p != nil}
	if p == nil {
		p = noop.NewTracerProvider()
	}
	o.tracer = p.Tracer(scope)
	return o
}

// Begin implements bmem.Observer.
func (o *Observer) Begin(ctx context.Context, step string) (context.Context, func(tiers.Step, error)) {
	start := time.Now()
	ctx, span := o.tracer.Start(ctx, step)
	if o.metrics != nil && step == bmem.StepAsk {
		o.metrics.asking.Inc()
	}
	return ctx, func(s tiers.Step, err error) {
		endStep(span, step, s, err)
		if o.metrics == nil {
			return
		}
		if step == bmem.StepAsk {
			o.metrics.asking.Dec()
		}
		o.metrics.step(step, s, err, time.Since(start))
	}
}

// Calls implements setup.Observer.
func (o *Observer) Calls(model string, local bool) llm.Middleware {
	return func(next llm.Handler) llm.Handler {
		return func(ctx context.Context, call llm.Call) (llm.Reply, error) {
			start := time.Now()
			ctx, span := o.startCall(ctx, model, local, call)
			reply, err := next(ctx, call)
			o.endCall(span, model, reply, err)
			if o.metrics != nil {
				o.metrics.call(model, operation(call), reply.Usage, err, time.Since(start))
			}
			return reply, err
		}
	}
}

// operation is what a call does, by the names of OpenTelemetry's conventions where these have one.
func operation(c llm.Call) string {
	switch {
	case c.Chat != nil:
		return "chat"
	case c.Embed != nil:
		return "embeddings"
	}
	return "score"
}
