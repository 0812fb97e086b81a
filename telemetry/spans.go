package telemetry

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/budgetmem/budgetmem/bmem"
	"github.com/budgetmem/budgetmem/tiers"
	"github.com/budgetmem/budgetmem/tiers/llm"
)

// Attributes by OpenTelemetry's semantic conventions. Those for generative AI are still in development there, and change from version to
// version; these are the names of v1.37 and later.
const (
	attrOperation    = attribute.Key("gen_ai.operation.name")
	attrProvider     = attribute.Key("gen_ai.provider.name")
	attrModel        = attribute.Key("gen_ai.request.model")
	attrMaxTokens    = attribute.Key("gen_ai.request.max_tokens")
	attrTemperature  = attribute.Key("gen_ai.request.temperature")
	attrChoices      = attribute.Key("gen_ai.request.choice.count")
	attrServedModel  = attribute.Key("gen_ai.response.model")
	attrFinish       = attribute.Key("gen_ai.response.finish_reasons")
	attrInputTokens  = attribute.Key("gen_ai.usage.input_tokens")
	attrOutputTokens = attribute.Key("gen_ai.usage.output_tokens")

	attrError   = attribute.Key("error.type")
	attrMethod  = attribute.Key("http.request.method")
	attrRoute   = attribute.Key("http.route")
	attrStatus  = attribute.Key("http.response.status_code")
	attrAddress = attribute.Key("server.address")
	attrPort    = attribute.Key("server.port")
)

// Attributes of our own.
const (
	attrPolicy  = attribute.Key("budgetmem.policy")
	attrModule  = attribute.Key("budgetmem.module")
	attrTier    = attribute.Key("budgetmem.tier")       // that served
	attrAsked   = attribute.Key("budgetmem.tier.asked") // by the policy
	attrMeans   = attribute.Key("budgetmem.method")
	attrCalls   = attribute.Key("budgetmem.calls")
	attrIn      = attribute.Key("budgetmem.tokens.input") // a step's; of its calls, those for which a model worked have gen_ai.usage too
	attrOut     = attribute.Key("budgetmem.tokens.output")
	attrDollars = attribute.Key("budgetmem.dollars") // replies from the cache at what they did cost
	attrPaid    = attribute.Key("budgetmem.dollars.paid")
	attrCached  = attribute.Key("budgetmem.cached")
	attrRetries = attribute.Key("budgetmem.retries")
	attrHedged  = attribute.Key("budgetmem.hedged") // a second endpoint was asked too
)

// providers say where a model is: on this machine, or at an endpoint of OpenAI's form, whosever it is.
const (
	providerLocal    = "budgetmem"
	providerEndpoint = "openai_compatible"
)

func used(u llm.Usage) []attribute.KeyValue {
	return []attribute.KeyValue{attrIn.Int(u.In), attrOut.Int(u.Out), attrDollars.Float64(u.Dollars), attrPaid.Float64(u.Paid)}
}

// endStep ends the span of a step.
func endStep(span trace.Span, step string, s tiers.Step, err error) {
	if !span.IsRecording() {
		return
	}
	switch step {
	case bmem.StepAsk:
		span.SetAttributes(append(used(s.Usage), attrPolicy.String(s.Method), attrCalls.Int(s.Usage.Calls))...)
	case bmem.StepRetrieve:
	default:
		span.SetAttributes(append(used(s.Usage), attrModule.String(step), attrTier.String(s.Served), attrAsked.String(s.Asked), attrMeans.String(s.Method), attrCalls.Int(s.Usage.Calls))...)
	}
	end(span, err != nil, kind(err))
}

// startCall begins the span of a model call.
func (o *Observer) startCall(ctx context.Context, model string, local bool, call llm.Call) (context.Context, trace.Span) {
	if !o.traced {
		return ctx, trace.SpanFromContext(ctx)
	}
	provider := providerEndpoint
	if local {
		provider = providerLocal
	}
	attrs := []attribute.KeyValue{attrOperation.String(operation(call)), attrProvider.String(provider), attrModel.String(model)}
	if r := call.Chat; r != nil {
		attrs = append(attrs, attrMaxTokens.Int(r.ReplyLimit()), attrTemperature.Float64(r.Temperature))
		if r.N > 1 {
			attrs = append(attrs, attrChoices.Int(r.N))
		}
	}
	return o.tracer.Start(ctx, operation(call)+" "+model, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attrs...))
}

// endCall ends the span of a model call. What a model did not work for is no usage by the conventions.
func (o *Observer) endCall(span trace.Span, model string, reply llm.Reply, err error) {
	if !o.traced {
		return
	}
	u := reply.Usage
	attrs := append(used(u), attrCached.Bool(u.Cached > 0), attrRetries.Int(u.Retries), attrHedged.Bool(u.Hedged > 0))
	if u.Cached == 0 {
		attrs = append(attrs, attrInputTokens.Int(u.In), attrOutputTokens.Int(u.Out))
	}
	if err == nil {
		attrs = append(attrs, attrServedModel.String(model))
	}
	if reply.Finish != "" {
		attrs = append(attrs, attrFinish.StringSlice([]string{reply.Finish}))
	}
	span.SetAttributes(attrs...)
	end(span, err != nil, kind(err))
}

// startRequest begins the span of a request to an endpoint, and names it in the request's header.
func (o *Observer) startRequest(r *http.Request) (*http.Request, trace.Span) {
	if !o.traced {
		return r, trace.SpanFromContext(context.Background())
	}
	ctx, span := o.tracer.Start(r.Context(), r.Method, trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(attrMethod.String(r.Method), attrAddress.String(r.URL.Hostname())))
	if port, err := strconv.Atoi(r.URL.Port()); err == nil {
		span.SetAttributes(attrPort.Int(port))
	}
	r = r.Clone(ctx) // a RoundTripper must not change what it is given
	propagator.Inject(ctx, propagation.HeaderCarrier(r.Header))
	return r, span
}

func endRequest(span trace.Span, status int) {
	if status == 0 {
		end(span, true, "no_reply")
		return
	}
	span.SetAttributes(attrStatus.Int(status))
	end(span, status >= 400, strconv.Itoa(status))
}

// end ends a span; one that failed has the kind of its error, and nothing of the error's text, which may quote a prompt.
func end(span trace.Span, failed bool, kind string) {
	if failed {
		span.SetAttributes(attrError.String(kind))
		span.SetStatus(codes.Error, kind)
	}
	span.End()
}

// kinds name errors.
var kinds = []struct {
	err  error
	name string
}{
	{context.Canceled, "canceled"}, {context.DeadlineExceeded, "deadline_exceeded"},
	{llm.ErrBudget, "budget"}, {bmem.ErrMaxCost, "max_cost"}, {llm.ErrRateLimited, "rate_limited"}, {llm.ErrNoServer, "no_server"},
	{llm.ErrUnavailable, "unavailable"}, {llm.ErrEmpty, "empty_reply"}, {llm.ErrReasoning, "reasoning_cut"}, {llm.ErrAuth, "auth"},
	{llm.ErrQuota, "quota"}, {llm.ErrBadRequest, "bad_request"}, {llm.ErrUnpriced, "unpriced"}, {llm.ErrCache, "reply_cache"},
	{llm.ErrLedger, "ledger"}, {bmem.ErrNoMemory, "no_memory"},
}

// kind names an error; "" for none.
func kind(err error) string {
	if err == nil {
		return ""
	}
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			return k.name
		}
	}
	return "_OTHER"
}
