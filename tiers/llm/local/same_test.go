package local

import (
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"

	"github.com/budgetmem/budgetmem/internal/backend"
	"github.com/budgetmem/budgetmem/internal/testenv"
	"github.com/budgetmem/budgetmem/tiers/llm"
)

// rowsOf computes ids in chunks of S tokens in slot b of B, and returns the hidden rows [len(ids), Dim].
func rowsOf(t *testing.T, e *engine, ids []int32, B, S, T, b int) []float32 {
	t.Helper()
	c, err := e.newCache(B, T)
	if err != nil {
		t.Fatal(err)
	}
	defer c.finalize()
	var rows []float32
	for from := 0; from < len(ids); from += S {
		n := min(S, len(ids)-from)
		tokens, pos0 := make([]int32, B*S), make([]int32, B)
		for i := range tokens {
			tokens[i] = int32(1000 + 7*i) // company in the other slots
		}
		copy(tokens[b*S:], ids[from:from+n])
		clear(tokens[b*S+n : (b+1)*S])
		pos0[b] = int32(from)
		err := e.forward(tokens, pos0, c, func(hidden, kv []float32) error {
			rows = append(rows, hidden[b*S*e.cfg.Dim:][:n*e.cfg.Dim]...)
			return c.edit(func(plane int, data []float32) {
				for h := range e.cfg.KVHeads {
					at := ((b*e.cfg.KVHeads+h)*T + from) * e.cfg.HeadDim
					copy(data[at:][:n*e.cfg.HeadDim], kvRows{kv, B, S, b}.plane(e.cfg, plane, h, 0))
				}
			})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return rows
}

// story is n different sentences.
func story(n int) string {
	var s strings.Builder
	for i := range n {
		fmt.Fprintf(&s, "On day %d Caroline bought %d pears at the market and Melanie painted sunrise number %d. ", i, i*i%17, i%5)
	}
	return s.String()
}

// The rows of a prompt come out the same however it is computed, bit for bit.
func TestRowsDoNotDependOnBatching(t *testing.T) {
	for _, name := range []string{smol, qwen} {
		m := openTest(t, name)
		if shared.be.Kind != backend.CPU {
			testenv.Missing(t, "holds on XLA-CPU, this is "+shared.be.Why)
		}
		ids := m.tok.Encode(story(16), false)[:longS]
		want := rowsOf(t, m.eng, ids, 1, longS, 512, 0)
		// Rows depend on those before them alone, so the beginning is enough: some chunks, the last of them not full.
		for _, v := range []struct{ B, S, T, b, n int }{{1, shortS, 512, 0, 150}, {1, longS, 2048, 0, longS}, {manyB, manyS, 512, 3, 80}} {
			t.Run(fmt.Sprintf("%s %+v", name, v), func(t *testing.T) {
				sameRows(t, rowsOf(t, m.eng, ids[:v.n], v.B, v.S, v.T, v.b), want[:v.n*m.cfg.Dim], m.cfg.Dim)
			})
		}
	}
}

// sameRows fails if rows of dim values differ in a single bit.
func sameRows(t *testing.T, got, want []float32, dim int) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d values, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("row %d, value %d is %v, want %v", i/dim, i%dim, got[i], want[i])
		}
	}
}

// Neither do the steps of decode depend on the length of the cache, the number of slots, the slot or the company. The larger
// model has products so long that they are added up in another order for another number of rows.
func TestDecodeDoesNotDependOnBatching(t *testing.T) {
	for _, name := range []string{smol, qwen} {
		m := openTest(t, name)
		if shared.be.Kind != backend.CPU {
			testenv.Missing(t, "holds on XLA-CPU, this is "+shared.be.Why)
		}
		ids := m.tok.Encode(story(1), false)[:6]
		want := rowsOf(t, m.eng, ids, 16, 1, 512, 0)
		for _, v := range []struct{ B, T, b int }{{16, 2048, 11}, {4, 512, 3}, {8, 512, 5}, {12, 1024, 0}} {
			t.Run(fmt.Sprintf("%s %+v", name, v), func(t *testing.T) {
				sameRows(t, rowsOf(t, m.eng, ids, v.B, 1, v.T, v.b), want, m.cfg.Dim)
			})
		}
	}
}

// Greedy replies and scores are the same alone and in company, with an empty and a full prefix cache.
func TestResultsDoNotDependOnCompany(t *testing.T) {
	m := openTest(t, smol)
	if shared.be.Kind != backend.CPU {
		testenv.Missing(t, "holds on XLA-CPU, this is "+shared.be.Why)
	}
	const n = 9
	chat := func(i int) llm.Request {
		return llm.Request{Messages: ask(story(3+2*i) + "\n\nWhat happened on day 2?"), MaxTokens: 10}
	}
	score := llm.ScoreRequest{Messages: ask(story(5) + "\n\nWho painted?"), Continuation: "Melanie painted a sunrise."}
	run := func(i int) (string, float64) {
		r, err := m.Chat(t.Context(), chat(i))
		if err != nil {
			t.Error(err)
		}
		s, _, err := m.Score(t.Context(), []llm.ScoreRequest{score})
		if err != nil {
			t.Error(err)
			return "", 0
		}
		return r.Text, s[0].LogProb
	}
	var alone [n]string
	var logProb float64
	for i := range n {
		alone[i], logProb = run(i)
	}
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			text, lp := run(i)
			if text != alone[i] {
				t.Errorf("reply %d alone and in company:\n%s\n%s", i, alone[i], text)
			}
			if lp != logProb {
				t.Errorf("score alone %v, in company %v", logProb, lp)
			}
		})
	}
	wg.Wait()
}

// A beginning that was computed is not computed again.
func TestPrefixReuse(t *testing.T) {
	m := openTest(t, smol)
	context := "Only in this test. " + story(20) + "\n\n"
	computed := func(question string) (prompt, prefilled, reused int) {
		before := m.Stats()
		r, err := m.Chat(t.Context(), llm.Request{Messages: ask(context + question), MaxTokens: 2})
		if err != nil {
			t.Fatal(err)
		}
		after := m.Stats()
		return r.Usage.In, after.Prefilled - before.Prefilled, after.Reused - before.Reused
	}
	prompt, first, _ := computed("What did Caroline buy?")
	if first < prompt/2 {
		t.Fatalf("the first of its kind computed %d of %d tokens", first, prompt)
	}
	prompt, second, reused := computed("Which sunrise did Melanie paint?")
	if second > 40 || second+reused != prompt-1 {
		t.Errorf("%d of %d tokens computed and %d reused for a prompt that differs in its last question", second, prompt, reused)
	}
}

// Requests that arrive together share their beginning too.
func TestScoreSharesPrefix(t *testing.T) {
	m := openTest(t, smol)
	context := "Only when scoring. " + story(12) + "\n\nWho painted?"
	var reqs []llm.ScoreRequest
	for i := range 20 {
		reqs = append(reqs, llm.ScoreRequest{Messages: ask(context), Continuation: fmt.Sprintf("Painter number %d did.", i)})
	}
	before := m.Stats()
	scores, usage, err := m.Score(t.Context(), reqs)
	if err != nil {
		t.Fatal(err)
	}
	after := m.Stats()
	once := usage.In / len(reqs)
	if got := after.Prefilled - before.Prefilled; got > once+40*len(reqs) {
		t.Errorf("%d tokens computed for %d requests that share most of %d", got, len(reqs), once)
	}
	tokens := 0
	for _, s := range scores {
		tokens += s.Tokens
		if s.LogProb >= 0 || math.IsNaN(s.LogProb) {
			t.Errorf("log-probability %v", s.LogProb)
		}
	}
	if got := after.Scored - before.Scored; got != tokens {
		t.Errorf("%d tokens scored, want %d", got, tokens)
	}
}
