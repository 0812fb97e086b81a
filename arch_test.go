package budgetmem

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/budgetmem/budgetmem"

// rooms says what each room may import of the others, of its own packages any. A room is a folder with all
// below it; the longest name counts. Imports point one way: cmd → experiments → bmem → tiers, router → tiers/llm, bmem/embed.
// A router knows nothing of tiers, tiers nothing of routers, and kernel shows results and computes none.
var rooms = map[string][]string{
	"":                     {},
	"bmem":                 {"tiers/text", "bmem/chunk", "bmem/conversation", "bmem/embed", "bmem/retrieve", "bmem/store", "router", "router/cascade", "tiers", "tiers/llm", "internal"},
	"bmem/chunk":           {},
	"bmem/conversation":    {"bmem/chunk", "internal", "tiers/text"},
	"bmem/embed":           {"tiers/llm", "tiers/llm/openai", "internal", "internal/bert"},
	"bmem/quick":           {"bmem", "bmem/chunk", "bmem/conversation", "bmem/setup", "bmem/setup/served"},
	"bmem/rerank":          {"internal", "internal/bert", "tiers/llm"},
	"bmem/retrieve":        {"bmem/chunk", "bmem/embed", "bmem/store", "internal", "tiers/text"},
	"bmem/setup":           {"router/cascade", "bmem", "bmem/embed", "bmem/retrieve", "bmem/store", "bmem/store/postgres", "tiers", "tiers/text", "tiers/llm", "tiers/llm/openai", "internal"},
	"bmem/setup/inprocess": {"bmem/embed", "bmem/rerank", "bmem/setup", "tiers/llm", "tiers/llm/local", "internal"},
	"bmem/setup/served":    {"bmem/embed", "bmem/setup", "serve/api", "serve/registry", "tiers/llm", "tiers/llm/local/adapter", "tiers/llm/openai"},
	"bmem/store":           {"bmem/chunk", "bmem/embed", "internal"},
	"bmem/store/postgres":  {"bmem/store", "internal"},
	"bmem/store/storetest": nil, // tests
	"cmd":                  nil, // anything
	"datasets":             {"bmem/chunk", "bmem/conversation", "internal", "tiers/text"},
	"datasets/judge":       {"tiers/llm", "internal"},

	"experiments":           {},
	"experiments/calibrate": {"experiments/episodes", "experiments/stats", "router", "router/cascade", "router/confidence"},
	"experiments/episodes":  {"router", "router/offline", "internal"},
	"experiments/frontier":  {"router/cascade", "experiments/calibrate", "experiments/episodes", "experiments/report", "experiments/stats", "kernel", "router", "router/confidence", "router/offline", "router/portable", "tiers/text", "internal"},
	"experiments/lab": {"bmem/setup", "bmem/setup/served", "datasets", "experiments/episodes", "experiments/frontier", "experiments/published",
		"experiments/report", "experiments/run", "experiments/stats", "experiments/train", "kernel", "router", "router/offline", "router/portable", "tiers", "internal"},
	"experiments/published":   {"kernel", "internal"},
	"experiments/report":      {"bmem", "datasets", "experiments/run", "experiments/stats", "kernel", "tiers", "tiers/llm", "internal"},
	"experiments/run":         {"bmem", "bmem/chunk", "bmem/retrieve", "bmem/setup", "datasets", "datasets/judge", "experiments/episodes", "router", "tiers", "tiers/llm", "internal"},
	"experiments/run/runtest": nil, // tests
	"experiments/stats":       {},
	"experiments/track":       {"internal"},
	"experiments/workers":     {"experiments/run", "router", "tiers/llm", "internal"},
	"experiments/train":       {"experiments/episodes", "experiments/frontier", "experiments/report", "experiments/run", "experiments/stats", "experiments/track", "kernel", "router", "router/offline", "router/portable", "internal"},

	"examples":                {"bmem", "bmem/chunk", "bmem/conversation", "bmem/setup", "bmem/setup/inprocess"},
	"examples/route":          {"router/cascade", "router/confidence", "router/portable"},
	"internal":                {},
	"internal/bert":           {"internal", "internal/safetensors"},
	"internal/safetensors":    {},
	"internal/tools":          nil, // programs of their own, which nothing imports
	"kernel":                  {"internal"},
	"kernel/kernelspec":       {"kernel", "serve/registry", "internal"},
	"router":                  {"internal", "internal/safetensors", "router/cascade", "router/confidence", "router/portable"},
	"router/cascade":          {"router/confidence"},
	"router/confidence":       {},
	"router/offline":          {"router", "internal"},
	"router/portable":         {"internal/safetensors", "router/cascade"},
	"serve":                   {"bmem/embed", "serve/api", "serve/memory", "serve/page", "serve/tenant", "tiers/llm", "tiers/llm/local", "internal"},
	"serve/api":               {"tiers/llm"},
	"serve/mcp":               {"serve/memory"},
	"serve/memory":            {"bmem", "bmem/chunk", "tiers/llm"},
	"serve/page":              {},
	"serve/registry":          {"internal", "serve/api"},
	"serve/tenant":            {"serve/memory", "internal"},
	"telemetry":               {"bmem", "bmem/setup", "serve/api", "serve/memory", "tiers", "tiers/llm", "tiers/llm/openai"},
	"tiers":                   {"tiers/text", "bmem/chunk", "bmem/embed", "tiers/llm", "internal"},
	"tiers/llm":               {"internal"},
	"tiers/text":              {},
	"tiers/llm/local/adapter": {"internal", "internal/safetensors"},
	"tiers/llm/local":         {"tiers/llm", "tiers/llm/local/adapter", "internal"},
	"tiers/llm/openai":        {"tiers/llm", "internal"},
	"tune/reranker":           {"bmem", "bmem/chunk", "bmem/rerank", "datasets", "tiers", "internal", "internal/bert", "internal/safetensors"},
	"tune":                    {"bmem", "bmem/chunk", "datasets", "tiers", "tiers/llm", "tiers/llm/local", "tiers/llm/local/adapter", "internal", "internal/safetensors"},
}

// pkg is what `go list -json` tells of a package. Tests may import what they like.
type pkg struct {
	ImportPath string
	Imports    []string
	Standard   bool
}

func TestImportsPointOneWay(t *testing.T) {
	pkgs := list(t, "./...")
	if len(pkgs) < 10 {
		t.Fatalf("go list found %d packages", len(pkgs))
	}
	for _, p := range pkgs {
		from := room(p.ImportPath)
		allowed, known := rooms[from]
		if !known {
			t.Errorf("package %s lies in no room", p.ImportPath)
		}
		for _, path := range p.Imports {
			if !strings.HasPrefix(path, module+"/") {
				if from == "router/portable" && strings.Contains(strings.SplitN(path, "/", 2)[0], ".") {
					t.Errorf("%s imports %s; it may import the standard library only", p.ImportPath, path)
				}
				continue
			}
			if to := room(path); to != from && allowed != nil && !slices.Contains(allowed, to) {
				t.Errorf("%s imports %s, which its room may not", p.ImportPath, path)
			}
		}
	}
}

// The types that everything shares bring nothing along, and neither does a router that was exported into another program.
func TestDependOnTheStandardLibraryAlone(t *testing.T) {
	for path, own := range map[string][]string{
		"bmem/chunk":        nil,
		"router/cascade":    {"router/confidence"},
		"router/confidence": nil,
		"router/portable":   {"internal/safetensors", "router/cascade", "router/confidence"},
		"examples/route":    {"internal/safetensors", "router/cascade", "router/confidence", "router/portable"},
	} {
		found := false
		for _, p := range list(t, "-deps", "./"+path) {
			found = found || p.ImportPath == module+"/"+path
			if local := strings.TrimPrefix(p.ImportPath, module+"/"); !p.Standard && local != path && !slices.Contains(own, local) {
				t.Errorf("%s depends on %s", path, p.ImportPath)
			}
		}
		if !found {
			t.Errorf("go list does not know %s", path)
		}
	}
}

// What programs and notebooks import brings no XLA along; only what runs models or trains routers does.
func TestNoXLAWithoutAnEngine(t *testing.T) {
	for _, path := range []string{"./bmem", "./bmem/quick", "./bmem/setup", "./bmem/setup/served", "./experiments/run", "./experiments/report", "./experiments/frontier", "./experiments/lab", "./experiments/episodes", "./kernel/..."} {
		for _, p := range list(t, "-deps", path) {
			if strings.HasPrefix(p.ImportPath, "github.com/gomlx/go-xla") {
				t.Errorf("%s depends on %s", path, p.ImportPath)
			}
		}
	}
}

// Nothing that programs and notebooks import brings the NATS server or its client along; the program alone does.
func TestNoNATSWithoutWorkers(t *testing.T) {
	for _, path := range []string{"./bmem/...", "./datasets/...", "./experiments/run", "./experiments/report", "./experiments/lab", "./experiments/train", "./kernel/...", "./router/...", "./serve/...", "./tiers/...", "./tune/..."} {
		for _, p := range list(t, "-deps", path) {
			if strings.HasPrefix(p.ImportPath, "github.com/nats-io") {
				t.Errorf("%s depends on %s", path, p.ImportPath)
			}
		}
	}
}

// What is watched knows nothing of what it is shown by: OpenTelemetry and Prometheus are linked by the program alone.
func TestNoTelemetryInLibraries(t *testing.T) {
	for _, path := range []string{"./bmem/...", "./datasets/...", "./experiments/...", "./kernel/...", "./router/...", "./serve/...", "./tiers/...", "./tune/..."} {
		for _, p := range list(t, "-deps", path) {
			for _, of := range []string{"go.opentelemetry.io/", "github.com/prometheus/", module + "/telemetry"} {
				if strings.HasPrefix(p.ImportPath, of) {
					t.Errorf("%s depends on %s", path, p.ImportPath)
				}
			}
		}
	}
}

// room returns the longest room that a package lies in.
func room(path string) string {
	path = strings.TrimPrefix(strings.TrimPrefix(path, module), "/")
	best := ""
	for name := range rooms {
		if (path == name || strings.HasPrefix(path, name+"/")) && len(name) > len(best) {
			best = name
		}
	}
	return best
}

func list(t *testing.T, args ...string) []pkg {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Imports,Standard"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	var pkgs []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
}
