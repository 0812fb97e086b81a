package local

import (
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/budgetmem/budgetmem/tiers/llm"
)

// What is sent is whole characters, never a part of a stop string, and together the reply.
func TestPieces(t *testing.T) {
	for _, c := range []struct {
		tokens, stops, want []string
	}{
		{[]string{"a", "b", "c"}, nil, []string{"a", "b", "c"}},
		{[]string{"a\xc3", "\xbc", "\xf0\x9f", "\x98", "\x80!"}, nil, []string{"a", "ü", "😀!"}},
		{[]string{"one", " EN", "D", "D", " END"}, []string{"END"}, []string{"one", " "}},
		{[]string{"one", " EN", "tails", "\nQ", ": what"}, []string{"END", "\nQ:"}, []string{"one", " ", "ENtails"}},
		{[]string{"aab", "c"}, []string{"ab"}, []string{"a"}},
		{[]string{"a\xc3"}, nil, []string{"a", "\xc3"}}, // what the model leaves broken stays so
	} {
		var got []string
		p := pieces{stops: c.stops, emit: func(s string) error { got = append(got, s); return nil }}
		text := ""
		for _, token := range c.tokens {
			if err := p.add([]byte(token)); err != nil {
				t.Fatal(err)
			}
			var ended bool
			if text, ended = cutAtStop(text+token, c.stops); ended {
				break
			}
		}
		if err := p.finish(text); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, c.want) || strings.Join(got, "") != text {
			t.Errorf("%q with stops %q came as %q, want %q of %q", c.tokens, c.stops, got, c.want, text)
		}
	}
}

func TestStream(t *testing.T) {
	m := openTest(t, smol)
	req := llm.Request{Messages: ask("Write one sentence about the Café in Zürich, with an emoji."), MaxTokens: 40}
	want, err := m.Chat(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	r, err := m.Stream(t.Context(), req, func(piece string) error {
		if !utf8.ValidString(piece) {
			t.Errorf("piece %q", piece)
		}
		got = append(got, piece)
		return nil
	})
	if err != nil || r.Text != want.Text || strings.Join(got, "") != want.Text || r.Usage.Out != want.Usage.Out {
		t.Errorf("streamed %q, %+v, %v; want %q", got, r, err, want.Text)
	}
	if len(got) < r.Usage.Out/2 {
		t.Errorf("%d pieces for %d tokens", len(got), r.Usage.Out)
	}
	if want := r.Usage.In - 1; r.Reused < want-blockTokens || r.Reused > want {
		t.Errorf("%d of %d prompt tokens reused the second time", r.Reused, r.Usage.In)
	}

	enough := errors.New("enough")
	req.MaxTokens = 2000
	before := m.Stats().Decoded
	if r, err = m.Stream(t.Context(), req, func(string) error { return enough }); !errors.Is(err, enough) || r.Usage.Failed != 1 {
		t.Errorf("%+v, %v, want the error of emit", r, err)
	}
	if n := m.Stats().Decoded - before; n > 100 {
		t.Errorf("%d tokens generated for a reply that nobody takes", n)
	}
}

// Replies in JSON mode are JSON objects whatever the model would like to say; at temperature too.
func TestJSONMode(t *testing.T) {
	m := openTest(t, smol)
	for _, c := range []struct {
		question    string
		temperature float64
		whole       bool // whether the reply must be complete within its length
	}{
		{`Reply with a JSON object with the keys "name" and "age" for Ann, who is 31.`, 0, true},
		{"What is the capital of France?", 0, false},
		{"Tell me a story about a pear.", 1, false},
	} {
		most := 20
		if c.whole {
			most = 60
		}
		req := llm.Request{Messages: ask(c.question), MaxTokens: most, JSON: true, Temperature: c.temperature, Seed: 7}
		r, err := m.Chat(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %s", r.Finish, r.Text)
		var j jsonText
		if !j.extend([]byte(r.Text)) || (r.Finish == "stop") != j.done() {
			t.Errorf("%q (%s) is no beginning of a JSON object", r.Text, r.Finish)
		}
		if r.Finish == "stop" && !json.Valid([]byte(r.Text)) || c.whole && r.Finish != "stop" {
			t.Errorf("%q (%s) is no JSON", r.Text, r.Finish)
		}
	}
}

// A reply's log-probabilities add up to what scoring gives for it, and at temperature 0 every token is the likeliest.
func TestLogProbs(t *testing.T) {
	m := openTest(t, smol)
	req := llm.Request{Messages: ask("What is the capital of France?"), MaxTokens: 12, LogProbs: true}
	r, err := m.Chat(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	tokens := m.tok.Encode(r.Text, false)
	if n := len(r.LogProbs); n != r.Usage.Out && n != r.Usage.Out+1 || r.Usage.Out != len(tokens) {
		t.Fatalf("%d log-probabilities of %d tokens, %d when encoded", n, r.Usage.Out, len(tokens))
	}
	sum := 0.0
	for i, p := range r.LogProbs {
		if p.Second > p.LogProb {
			t.Errorf("token %d: %+v, a likelier one was left out", i, p)
		}
		if i < r.Usage.Out {
			sum += p.LogProb
		}
	}
	scores, _, err := m.Score(t.Context(), []llm.ScoreRequest{{Messages: req.Messages, Continuation: r.Text}})
	if err != nil {
		t.Fatal(err)
	}
	if math.Abs(scores[0].LogProb-sum) > 1e-3*float64(len(tokens)) {
		t.Errorf("log-probabilities add up to %v, scoring says %v", sum, scores[0].LogProb)
	}
}

// Several replies come from one prompt, which counts once; the same seed gives the same replies.
func TestSeveralReplies(t *testing.T) {
	m := openTest(t, smol)
	req := llm.Request{Messages: ask("Name an animal."), MaxTokens: 8, Temperature: 1, Seed: 3, N: 4}
	one, err := m.Chat(t.Context(), llm.Request{Messages: req.Messages, MaxTokens: 1})
	if err != nil {
		t.Fatal(err)
	}
	r, err := m.Chat(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	again, err := m.Chat(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]bool{}
	for i, c := range r.Choices() {
		texts[c.Text] = true
		if c.Text != again.Choices()[i].Text {
			t.Errorf("reply %d: %q, then %q", i, c.Text, again.Choices()[i].Text)
		}
	}
	if len(r.Choices()) != 4 || len(texts) < 2 {
		t.Errorf("%d replies, %d different", len(r.Choices()), len(texts))
	}
	if r.Usage.In != one.Usage.In || r.Usage.Out < 4 || r.Usage.Out > 32 {
		t.Errorf("usage %+v; the prompt has %d tokens", r.Usage, one.Usage.In)
	}
}
