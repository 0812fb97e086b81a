package telemetry

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/openai"
)

// propagator writes and reads the header traceparent of W3C Trace Context.
var propagator propagation.TraceContext

// Transport implements setup.Observer. A request lasts until its reply is read or closed.
func (o *Observer) Transport(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		start, endpoint := time.Now(), openai.EndpointOf(r)
		r, span := o.startRequest(r)
		done := func(status int) {
			endRequest(span, status)
			if o.metrics != nil {
				o.metrics.requested(endpoint, status, time.Since(start))
			}
		}
		if o.metrics != nil {
			o.metrics.inFlight.WithLabelValues(endpoint).Inc()
		}
		resp, err := next.RoundTrip(r)
		if err != nil {
			done(0)
			return nil, err
		}
		resp.Body = &watched{ReadCloser: resp.Body, done: func() { done(resp.StatusCode) }}
		return resp, nil
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// watched is a body that says when it ends.
type watched struct {
	io.ReadCloser
	done func()
	once sync.Once
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.ReadCloser.Read(p)
	if err != nil {
		w.once.Do(w.done)
	}
	return n, err
}

func (w *watched) Close() error {
	w.once.Do(w.done)
	return w.ReadCloser.Close()
}

// Request implements serve.Observer. It takes up the trace that the request says it belongs to.
func (o *Observer) Request(r *http.Request, route string) (context.Context, func(status int)) {
	start := time.Now()
	ctx, span := o.tracer.Start(propagator.Extract(r.Context(), propagation.HeaderCarrier(r.Header)), route, trace.WithSpanKind(trace.SpanKindServer))
	if o.metrics != nil {
		o.metrics.serving.Inc()
	}
	return ctx, func(status int) {
		if span.IsRecording() {
			span.SetAttributes(attrMethod.String(method(r.Method)), attrRoute.String(route), attrStatus.Int(status))
		}
		end(span, status >= 500, strconv.Itoa(status))
		if o.metrics != nil {
			o.metrics.serving.Dec()
			o.metrics.served.WithLabelValues(route, strconv.Itoa(status)).Observe(time.Since(start).Seconds())
		}
	}
}

// Computed implements serve.Observer: the request's span tells of the model, and metrics count the call as one of the operation "serve".
func (o *Observer) Computed(ctx context.Context, model string, used llm.Usage, took time.Duration, err error) {
	if span := trace.SpanFromContext(ctx); span.IsRecording() {
		span.SetAttributes(attrProvider.String(providerLocal), attrModel.String(model), attrInputTokens.Int(used.In), attrOutputTokens.Int(used.Out))
	}
	if o.metrics != nil {
		o.metrics.computed(model, "serve", used, err, took)
	}
}

// method is a method that HTTP knows: a client can send any word.
func method(m string) string {
	if slices.Contains([]string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions}, m) {
		return m
	}
	return "_OTHER"
}

// Send makes a span for a question that another program is given to answer, and writes it into header; Receive there goes on from it.
func (o *Observer) Send(ctx context.Context, header http.Header) {
	ctx, span := o.tracer.Start(ctx, "send", trace.WithSpanKind(trace.SpanKindProducer))
	propagator.Inject(ctx, propagation.HeaderCarrier(header))
	span.End()
}

// Receive returns ctx with the span that Send wrote into header, if it did.
func (o *Observer) Receive(ctx context.Context, header http.Header) context.Context {
	return propagator.Extract(ctx, propagation.HeaderCarrier(header))
}
