package telemetry

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// The environment variables of OpenTelemetry that switch traces on or off. The others that it defines for OTLP over HTTP, samplers, batches
// and resources are kept to as well.
const (
	EnvEndpoint       = "OTEL_EXPORTER_OTLP_ENDPOINT"
	EnvTracesEndpoint = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
	EnvExporter       = "OTEL_TRACES_EXPORTER"
	EnvDisabled       = "OTEL_SDK_DISABLED"

	envProtocol       = "OTEL_EXPORTER_OTLP_PROTOCOL"
	envTracesProtocol = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"
)

// protocol is the one of OTLP's that is spoken.
const protocol = "http/protobuf"

// Wanted says whether the environment asks for traces: an endpoint is named, or OTEL_TRACES_EXPORTER is otlp, and nothing says no. An
// exporter or protocol that there is not here is an error.
func Wanted() (bool, error) {
	if strings.EqualFold(os.Getenv(EnvDisabled), "true") {
		return false, nil
	}
	switch exporter := os.Getenv(EnvExporter); exporter {
	case "none":
		return false, nil
	case "":
		if os.Getenv(EnvEndpoint) == "" && os.Getenv(EnvTracesEndpoint) == "" {
			return false, nil
		}
	case "otlp":
	default:
		return false, fmt.Errorf("$%s is %q: there are otlp and none", EnvExporter, exporter)
	}
	for _, name := range []string{envTracesProtocol, envProtocol} {
		if p := os.Getenv(name); p != "" && p != protocol {
			return false, fmt.Errorf("$%s is %q: traces are sent by %s (at port 4318 of most collectors)", name, p, protocol)
		} else if p != "" {
			break
		}
	}
	return true, nil
}

// How long the last spans are tried to be sent: less after an interrupt.
const (
	flushTime       = 5 * time.Second
	interruptedTime = time.Second
)

// NewProvider returns a provider whose spans go to the collector that the environment names (http://localhost:4318 if none). service is
// the program's name where OTEL_SERVICE_NAME gives none, and version its version. What fails is told to warn once. Shutdown sends the
// last spans.
func NewProvider(ctx context.Context, service, version string, warn func(string)) (*sdktrace.TracerProvider, error) {
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("send traces: %w", err)
	}
	about, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithHost(),
		resource.WithAttributes(attribute.String("service.name", service), attribute.String("service.version", version)), resource.WithFromEnv())
	if err != nil && !errors.Is(err, resource.ErrPartialResource) {
		return nil, errors.Join(fmt.Errorf("send traces: %w", err), exporter.Shutdown(ctx))
	}
	return sdktrace.NewTracerProvider(sdktrace.WithResource(about), sdktrace.WithBatcher(&patient{SpanExporter: exporter, warn: warn})), nil
}

// Shutdown sends a provider's last spans, within some seconds, or within one if ctx has ended.
func Shutdown(ctx context.Context, p *sdktrace.TracerProvider) error {
	patience := flushTime
	if ctx.Err() != nil {
		patience = interruptedTime
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	return p.Shutdown(ctx)
}

// patient is an exporter whose failures end nothing and are told once: nobody's question waits for a collector.
type patient struct {
	sdktrace.SpanExporter
	warn func(string)
	once sync.Once
}

// ExportSpans implements sdktrace.SpanExporter.
func (p *patient) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	if err := p.SpanExporter.ExportSpans(ctx, spans); err != nil {
		p.once.Do(func() { p.warn("traces are not sent: " + err.Error()) })
	}
	return nil
}
