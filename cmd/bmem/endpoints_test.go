package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/bmem"
	"github.com/budgetmem/budgetmem/bmem/setup"
	"github.com/budgetmem/budgetmem/internal/models/modelstest"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

const meeting = `{"session": "1", "time": "10:04 am on 3 March, 2025", "speaker": "Rita", "text": "I finally signed up for the pottery class yesterday!"}
{"session": "2", "time": "6:15 pm on 12 March, 2025", "speaker": "Rita", "text": "Let us meet at the old mill on Saturday."}
{"session": "2", "time": "6:15 pm on 12 March, 2025", "speaker": "Omar", "text": "The old mill it is, at noon."}
`

// asker runs `bmem ask --json` with flags that all tests of endpoints share.
type asker struct {
	t          *testing.T
	dir        string
	talk, list string
}

func newAsker(t *testing.T) asker {
	t.Helper()
	modelstest.Path(t, setup.Embedder)
	dir := t.TempDir()
	a := asker{t, dir, filepath.Join(dir, "talk.jsonl"), filepath.Join(dir, "prices.yaml")}
	for path, text := range map[string]string{a.talk: meeting, a.list: "prices:\n- {model: m, in: 1, out: 2}\n- {model: emb, in: 0.1, out: 0}\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return a
}

func (a asker) ask(cache string, flags ...string) (bmem.Answer, error) {
	a.t.Helper()
	args := append([]string{"ask", "--json", "--backend", "go", "--policy", "low", "--memory", a.talk, "--prices", a.list, "--cache", filepath.Join(a.dir, cache)}, flags...)
	out, err := runVerb(a.t, "", append(args, "Where do they meet?")...)
	var answer bmem.Answer
	if err != nil {
		return answer, err
	}
	if err := json.Unmarshal([]byte(out[strings.Index(out, "{"):]), &answer); err != nil {
		a.t.Fatalf("%v in %s", err, out)
	}
	return answer, nil
}

// One question goes through an endpoint of each family: it is answered once and paid once, with the right usage, or there
// is one clear error. Asked again, an answer comes from the cache.
func TestEndpointFamilies(t *testing.T) {
	a := newAsker(t)
	t.Setenv("FAMILY_KEY", llmtest.FamilyKey)
	for i, f := range llmtest.Families() {
		t.Run(f.Name, func(t *testing.T) {
			s := llmtest.StartFamily(f)
			defer s.Close()
			cache := string(rune('a' + i))
			flags := []string{"--endpoint", s.URL(), "--api-key-env", "FAMILY_KEY", "--model", "m", "--max-dollars", "1"}
			answer, err := a.ask(cache, flags...)
			requests, paid := s.Counts()
			most := max(f.Paid, 1)
			if paid > most || requests > most+3 {
				t.Errorf("%d requests, %d paid, want at most %d paid", requests, paid, most)
			}
			if f.Failure != "" {
				if err == nil || !strings.Contains(err.Error(), f.Failure) {
					t.Fatalf("answer %q, error %v; want one that says %q", answer.Text, err, f.Failure)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if want := strings.TrimSuffix(llmtest.FamilyAnswer, "."); answer.Text != want {
				t.Errorf("answer %q, want %q", answer.Text, want)
			}
			u := answer.Trace.Usage()
			if f.In > 0 && f.Paid < 2 && (u.In != f.In || u.Out != f.Out || u.Corrected != 0) {
				t.Errorf("usage %+v, want %d and %d tokens", u, f.In, f.Out)
			}
			if u.In < 90 || u.Out < 1 || u.Calls != 1 || u.Dollars <= 0 || u.Dollars > 0.01 {
				t.Errorf("usage %+v", u)
			}
			if i%5 != 0 && f.Paid < 2 {
				return // what is kept does not depend on the family
			}
			if answer, err = a.ask(cache, flags...); err != nil || answer.Trace.Usage().Cached != 1 {
				t.Errorf("asked again: %+v, %v", answer.Trace.Usage(), err)
			}
			if _, now := s.Counts(); now != paid {
				t.Errorf("asked again: %d replies paid, want %d", now, paid)
			}
		})
	}
}

// What was paid for at one endpoint is found at another, in any order of endpoints.
func TestRepliesDoNotDependOnTheAddress(t *testing.T) {
	a := newAsker(t)
	one, two := llmtest.New(llmtest.Config{}), llmtest.New(llmtest.Config{})
	defer one.Close()
	defer two.Close()
	for _, flags := range [][]string{{one.URL(), two.URL()}, {two.URL(), one.URL()}, {two.URL()}} {
		args := []string{"--model", "m"}
		for _, url := range flags {
			args = append(args, "--endpoint", url)
		}
		if _, err := a.ask("c", args...); err != nil {
			t.Fatal(err)
		}
	}
	if n := one.Count() + two.Count(); n != 1 {
		t.Errorf("%d calls, want 1", n)
	}
	if _, err := a.ask("c", "--model", "m", "--endpoint", two.URL(), "--model-set", "weights=other"); err != nil || one.Count()+two.Count() != 2 {
		t.Errorf("other weights got the same reply: %v", err)
	}
}

// A key goes to its own endpoint and to no other.
func TestKeysGoToTheirOwnEndpoint(t *testing.T) {
	a := newAsker(t)
	t.Setenv("KEY_A", "sk-aaaaaaaaaaaaaaaaaaaa")
	t.Setenv("KEY_B", "sk-bbbbbbbbbbbbbbbbbbbb")
	servers := make([]*llmtest.Server, 3)
	for i := range servers {
		servers[i] = llmtest.New(llmtest.Config{})
		defer servers[i].Close()
	}
	sent := func(i int) string {
		keys := map[string]bool{}
		for _, c := range servers[i].Calls() {
			keys[c.Key] = true
		}
		var out []string
		for k := range keys {
			out = append(out, k)
		}
		return strings.Join(out, " ")
	}
	// The calls of a question go to one endpoint, those of other questions to another.
	for i := 0; i < 32 && (servers[0].Count() == 0 || servers[1].Count() == 0); i++ {
		if _, err := runVerb(t, "", "ask", "--json", "--backend", "go", "--policy", "low", "--memory", a.talk, "--prices", a.list, "--cache", filepath.Join(a.dir, "pairs"),
			"--model", "m", "--endpoint", servers[0].URL(), "--api-key-env", "KEY_A", "--endpoint", servers[1].URL(), "--api-key-env", "KEY_B", fmt.Sprintf("Where do the %d meet?", i)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := a.ask("third", "--model", "m", "--endpoint", servers[0].URL(), "--api-key-env", "KEY_A", "--embedder", "emb@"+servers[2].URL()); err != nil {
		t.Fatal(err)
	}
	if sent(0) != "sk-aaaaaaaaaaaaaaaaaaaa" || sent(1) != "sk-bbbbbbbbbbbbbbbbbbbb" || sent(2) != "" || servers[2].Count() == 0 {
		t.Errorf("the endpoints were sent %q, %q, %q", sent(0), sent(1), sent(2))
	}
	if _, err := a.ask("own", "--model", "m", "--endpoint", servers[0].URL(), "--api-key-env", "KEY_A", "--api-key-env", servers[2].URL()+"=KEY_B", "--embedder", "emb@"+servers[2].URL()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(sent(2), "bbbb") || strings.Contains(sent(2), "aaaa") {
		t.Errorf("the embedder's endpoint was sent %q, want its own key", sent(2))
	}
	for want, flags := range map[string][]string{
		"no model is at https://elsewhere.example:443; there are models at " + servers[0].URL()[:len("http://127")]: {"--model", "m", "--endpoint", servers[0].URL(), "--api-key-env", "https://elsewhere.example/v1=KEY_A"},
		`key "KEY_A": all models are on this machine`:                                                               {"--api-key-env", "KEY_A"},
	} {
		if _, err := a.ask("x", flags...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", flags, err, want)
		}
	}
	if _, err := a.ask("x", "--model", "m", "--endpoint", servers[0].URL(), "--endpoint", servers[1].URL(), "--api-key-env", "KEY_A"); err == nil || !strings.Contains(err.Error(), "one for each endpoint") {
		t.Errorf("one key for two endpoints: %v", err)
	}
}

// Embedding costs money: it has a price, and counts in the limit.
func TestEmbeddingCountsInTheLimit(t *testing.T) {
	a := newAsker(t)
	s := llmtest.New(llmtest.Config{})
	defer s.Close()
	flags := []string{"--model", "m", "--endpoint", s.URL()}
	if _, err := a.ask("a", append(flags, "--embedder", "unknown@"+s.URL())...); err == nil || !strings.Contains(err.Error(), "no price") || s.Count() != 0 {
		t.Errorf("an embedder without a price: %v after %d calls", err, s.Count())
	}
	if _, err := a.ask("a", append(flags, "--embedder", "emb@"+s.URL(), "--max-dollars", "0.0000001")...); err == nil || !strings.Contains(err.Error(), "spend limit") || s.Count() != 0 {
		t.Errorf("under a limit of nothing: %v after %d calls", err, s.Count())
	}
}

// Smaller batches are sent after an endpoint refused a large one.
func TestEmbeddingBatchLimit(t *testing.T) {
	a := newAsker(t)
	var lines strings.Builder
	for i := range 14 {
		fmt.Fprintf(&lines, `{"session": "3", "speaker": "Omar", "text": "Line number %d about the garden."}`+"\n", i)
	}
	if err := os.WriteFile(a.talk, []byte(meeting+lines.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	s := llmtest.New(llmtest.Config{Script: func(c llmtest.Call) llmtest.Fault {
		if len(c.Texts) > 10 {
			return llmtest.Fault{Kind: llmtest.Status, Status: 400, Body: `{"error": {"message": "batch size is invalid, it should not be larger than 10", "type": "InvalidParameter"}}`}
		}
		return llmtest.Fault{}
	}})
	defer s.Close()
	if _, err := a.ask("a", "--model", "m", "--endpoint", s.URL(), "--embedder", "emb@"+s.URL()); err != nil {
		t.Fatal(err)
	}
	refused := 0
	for _, c := range s.Calls() {
		if len(c.Texts) > 10 {
			refused++
		}
	}
	if refused != 1 {
		t.Errorf("%d batches were too large, want 1: the hint is remembered", refused)
	}
}

// A redirect to somewhere else is not followed: neither the prompt nor the key leaves for there.
func TestRedirectsAreRefused(t *testing.T) {
	a := newAsker(t)
	t.Setenv("KEY_A", "sk-aaaaaaaaaaaaaaaaaaaa")
	var there atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { there.Add(1) }))
	defer other.Close()
	s := httptest.NewServer(http.RedirectHandler(other.URL+"/v1/chat/completions?token=x", http.StatusTemporaryRedirect))
	defer s.Close()
	_, err := a.ask("a", "--model", "m", "--endpoint", s.URL+"/v1", "--api-key-env", "KEY_A")
	if err == nil || !strings.Contains(err.Error(), "redirects to "+other.URL) || there.Load() != 0 {
		t.Errorf("%d requests were sent on, error %v", there.Load(), err)
	}
}

// A certificate that nobody vouches for is reported at once, with what to do.
func TestUntrustedCertificate(t *testing.T) {
	a := newAsker(t)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("something was sent") }))
	s.Config.ErrorLog = nil
	s.StartTLS()
	defer s.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := a.ask("a", "--model", "m", "--endpoint", s.URL+"/v1")
	if err == nil || !strings.Contains(err.Error(), "SSL_CERT_FILE") || ctx.Err() != nil {
		t.Errorf("error %v", err)
	}
}

// A base URL without its version gets a hint.
func TestMissingVersionInTheURL(t *testing.T) {
	a := newAsker(t)
	s := llmtest.New(llmtest.Config{})
	defer s.Close()
	base := strings.TrimSuffix(s.URL(), "/v1")
	if _, err := a.ask("a", "--model", "m", "--endpoint", base); err == nil || !strings.Contains(err.Error(), "try "+base+"/v1") {
		t.Errorf("error %v, want one that names the URL that is likely meant", err)
	}
}

// Settings reach the endpoint, from a file and from flags.
func TestModelSettings(t *testing.T) {
	a := newAsker(t)
	s := llmtest.New(llmtest.Config{})
	defer s.Close()
	file := filepath.Join(a.dir, "settings.yaml")
	if err := os.WriteFile(file, []byte("models:\n- {model: m, max_tokens: 77, max_completion_tokens: true, parameters: {top_p: 0.5}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := a.ask("a", "--model", "m", "--endpoint", s.URL(), "--model-settings", file, "--model-set", "reasoning_effort=low", "--model-set", "reasoning_tokens=100"); err != nil {
		t.Fatal(err)
	}
	var sent map[string]any
	if err := json.Unmarshal([]byte(s.Calls()[0].Body), &sent); err != nil {
		t.Fatal(err)
	}
	if sent["max_completion_tokens"] != 177.0 || sent["max_tokens"] != nil || sent["reasoning_effort"] != "low" || math.Abs(sent["top_p"].(float64)-0.5) > 1e-9 {
		t.Errorf("sent %v", sent)
	}
	for set, want := range map[string]string{"max_token=3": "did you mean", "max_tokens=x": "no whole number", "max_tokens": "want field=value"} {
		if _, err := a.ask("a", "--model", "m", "--endpoint", s.URL(), "--model-set", set); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", set, err, want)
		}
	}
}

// A name of a reasoning model is no reason to refuse it: what its endpoint asks for is sent.
func TestNewerParameters(t *testing.T) {
	a := newAsker(t)
	for _, model := range []string{"my-deployment", "gpt-5-mini", "o3", "claude-sonnet"} {
		s := llmtest.New(llmtest.Config{Script: func(c llmtest.Call) llmtest.Fault {
			for _, refused := range [][2]string{{`"max_tokens"`, "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."},
				{`"temperature"`, "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is supported."}} {
				if strings.Contains(c.Body, refused[0]) {
					return llmtest.Fault{Kind: llmtest.Status, Status: 400, Body: fmt.Sprintf(`{"error": {"message": %q}}`, refused[1])}
				}
			}
			return llmtest.Fault{}
		}, Reply: func(llmtest.Call) string { return "the old mill" }})
		answer, err := a.ask(model, "--allow-unpriced", "--model", model, "--endpoint", s.URL())
		s.Close()
		if err != nil || answer.Text != "the old mill" || s.Count() > 3 {
			t.Errorf("%s: %q, %v after %d requests", model, answer.Text, err, s.Count())
		}
	}
}

// A comparison of readers has its examples answered by all endpoints that are named.
func TestTuneEvalOverEndpoints(t *testing.T) {
	a := newAsker(t)
	var examples strings.Builder
	for i := range 40 {
		fmt.Fprintf(&examples, `{"id": "q%d", "question": "Where do they meet, time %d?", "notes": "[12 March 2025] Rita said, \"At the old mill.\"", "answer": "the old mill", "category": "single-hop"}`+"\n", i, i)
	}
	file := filepath.Join(a.dir, "examples.jsonl")
	if err := os.WriteFile(file, []byte(examples.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"tune", "eval", file, "--variant", "", "--against", "none", "--backend", "go", "--model", "m", "--prices", a.list, "--cache", filepath.Join(a.dir, "cache")}
	var servers []*llmtest.Server
	for range 2 {
		s := llmtest.New(llmtest.Config{Reply: func(llmtest.Call) string { time.Sleep(5 * time.Millisecond); return "the old mill" }})
		t.Cleanup(s.Close)
		servers = append(servers, s)
		args = append(args, "--endpoint", s.URL())
	}
	if _, err := runVerb(t, "", args...); err != nil {
		t.Fatal(err)
	}
	one, other := servers[0].Count(), servers[1].Count()
	if one+other != 40 || min(one, other) < 8 {
		t.Errorf("the endpoints answered %d and %d of 40 examples", one, other)
	}
}
