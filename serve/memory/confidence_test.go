package memory_test

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"github.com/budgetmem/budgetmem/bmem"
	"github.com/budgetmem/budgetmem/bmem/embed/embedtest"
	"github.com/budgetmem/budgetmem/router/cascade"
	"github.com/budgetmem/budgetmem/router/confidence"
	"github.com/budgetmem/budgetmem/serve/memory"
	"github.com/budgetmem/budgetmem/tiers/llm"
)

// unsure is a model that answers with a probability of e^−1 a token.
type unsure struct{}

func (unsure) Model() string { return "unsure" }
func (unsure) ID() string    { return "unsure" }
func (unsure) Chat(_ context.Context, r llm.Request) (llm.Response, error) {
	out := llm.Response{Text: "Bern", Finish: "stop", Usage: llm.Usage{Calls: 1, In: 100, Out: 1, Dollars: 1e-5}}
	if r.LogProbs {
		out.LogProbs = []llm.TokenLogProb{{LogProb: -1}}
	}
	return out, nil
}

func openCalibrated(t *testing.T, c *cascade.Calibration, o memory.Options) client {
	t.Helper()
	m, err := bmem.Open(t.Context(), bmem.Options{Path: filepath.Join(t.TempDir(), "memory.db"), Client: unsure{}, Calibration: c, Embedder: &embedtest.Words{}, Tokenizer: &embedtest.Words{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	server := httptest.NewServer(memory.Handler(memory.New(m, o), nil, 1<<16, slog.New(slog.NewTextHandler(t.Output(), nil))))
	t.Cleanup(server.Close)
	cl := client{t, server.URL}
	if s := cl.do("POST", "/v1/memories/chat/turns", `{"turns":[{"speaker":"Ann","text":"I moved to Bern."}]}`, nil); s != 200 {
		t.Fatal(s)
	}
	return cl
}

// An answer tells how sure it is, and one that is less sure than was asked for is withheld.
func TestConfidence(t *testing.T) {
	c := openCalibrated(t, &cascade.Calibration{Format: cascade.Format, Version: cascade.Version, Readers: []cascade.Reader{{Model: "unsure",
		Score:      &confidence.Estimate{Signals: []string{bmem.LogProbMean}, Center: []float64{0}, Scale: []float64{1}, Weights: []float64{1}, Levels: &confidence.Isotonic{X: []float64{-2, 0}, Y: []float64{0, 1}}},
		Answerable: &confidence.Estimate{Signals: []string{bmem.LogProbMean}, Center: []float64{0}, Scale: []float64{1}, Weights: []float64{1}, Levels: &confidence.Isotonic{X: []float64{-2, 0}, Y: []float64{0.25, 1}}}}}}, memory.Options{})
	for body, abstains := range map[string]bool{`{"question":"Where does Ann live?"}`: false, `{"question":"Where does Ann live?","min_confidence":0.4}`: false, `{"question":"Where does Ann live?","min_confidence":0.6}`: true,
		`{"question":"Where does Ann live?","min_answerable":0.5}`: false, `{"question":"Where does Ann live?","min_answerable":0.7}`: true} {
		var a memory.AskResult
		if s := c.do("POST", "/v1/memories/chat/ask", body, &a); s != 200 || a.Confidence == nil || *a.Confidence != 0.5 || a.Answerable == nil || *a.Answerable != 0.625 || a.Abstained != abstains || (a.Answer == "Bern") == abstains || len(a.Evidence) == 0 {
			t.Errorf("%s: %d %+v", body, s, a)
		}
	}
	for _, name := range []string{"min_confidence", "min_answerable"} {
		if s := c.do("POST", "/v1/memories/chat/ask", `{"question":"Where does Ann live?","`+name+`":1.5}`, nil); s != 400 {
			t.Errorf("%s above 1: %d", name, s)
		}
	}
}

func TestNoCalibration(t *testing.T) {
	c := openCalibrated(t, nil, memory.Options{Routing: []bmem.Option{bmem.WithTiers("low")}})
	if s := c.do("POST", "/v1/memories/chat/ask", `{"question":"Where does Ann live?","min_confidence":0.5}`, nil); s != 409 {
		t.Errorf("a confidence that is not known: %d", s)
	}
	// Questions that name no budget are routed as the server says, others as they say.
	for body, low := range map[string]bool{`{"question":"Where does Ann live?"}`: true, `{"question":"Where does Ann live?","budget":"high"}`: false} {
		var a memory.AskResult
		if s := c.do("POST", "/v1/memories/chat/ask", body, &a); s != 200 || a.Confidence != nil || (a.Tiers["filter"] == "low") != low {
			t.Errorf("%s: %d %+v", body, s, a)
		}
	}
	for _, name := range []string{".", "..", "%2e", "a%2Fb"} {
		if s := c.do("POST", "/v1/memories/"+name+"/turns", `{"turns":[{"text":"Hello."}]}`, nil); s < 300 {
			t.Errorf("memory %q: %d", name, s)
		}
	}
}
