package tiers

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

// dear is a model that bills every call at its bound.
type dear struct {
	llmtest.Client
	price  llm.Price
	billed float64
}

func (d *dear) Chat(ctx context.Context, req llm.Request) (llm.Response, error) {
	in, out := 0, req.ReplyLimit()*req.Replies()
	resp, err := d.Client.Chat(ctx, req)
	if err == nil {
		in, err = d.CountTokens(req.Messages)
	}
	d.billed += d.price.Dollars(in, out)
	resp.Usage = llm.Usage{Calls: 1, In: in, Out: out}
	return resp, err
}

// dearScorer also scores. Each request bills its prompt, and a token a byte of its continuation.
type dearScorer struct{ *dear }

func (d dearScorer) Score(_ context.Context, reqs []llm.ScoreRequest) ([]llm.Score, llm.Usage, error) {
	u := llm.Usage{Calls: 1}
	scores := make([]llm.Score, len(reqs))
	for i, r := range reqs {
		prompt, err := d.CountTokens(r.Messages)
		if err != nil {
			return nil, u, err
		}
		u.In += prompt + len(r.Continuation)
		scores[i] = likesLate(r)
	}
	d.billed += d.price.Dollars(u.In, 0)
	return scores, u, nil
}

// Every tier of every shipped set bills what WorstCase said when each call bills its bound, and WorstCase itself bills
// nothing.
func TestWorstCaseIsWhatRunBills(t *testing.T) {
	price := llm.Price{In: 1, Out: 2}
	for _, axis := range Axes() {
		for _, scores := range []bool{false, true} {
			spec, err := LoadSpec(axis)
			if err != nil {
				t.Fatal(err)
			}
			model := &dear{price: price, Client: llmtest.Client{Reply: scriptedReply}}
			base := llm.Client(model)
			if scores {
				base = dearScorer{model}
			}
			client, err := llm.Stack(base, llm.StackOptions{Prices: llm.Prices{}.Set(map[string]llm.Price{model.Model(): price})})
			if err != nil {
				t.Fatal(err)
			}
			models := map[string]llm.Client{}
			for _, role := range spec.Models() {
				models[role] = client
			}
			set, err := spec.Build(Deps{Client: client, Models: models})
			if axis == RerankedSet && !scores {
				if err == nil || !strings.Contains(err.Error(), "is no reranker") {
					t.Errorf("a reranker that does not score: %v", err)
				}
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			in := realInput(t)
			in.Entity, in.Temporal, in.Topic = []string{"a fact"}, []string{"a date"}, []string{"a theme"}
			for m, tiers := range set {
				for _, tier := range tiers {
					model.billed = 0
					worst, err := tier.WorstCase(t.Context(), in)
					if err != nil || model.billed != 0 {
						t.Fatalf("%s, %s %s: %v, billed $%v", axis, Module(m), tier.Name(), err, model.billed)
					}
					out, err := tier.Run(t.Context(), in)
					if err != nil || out.Step.Served != tier.Name() {
						t.Fatalf("%s, %s %s: %v, %+v", axis, Module(m), tier.Name(), err, out.Step)
					}
					if model.billed > worst || !scores && math.Abs(model.billed-worst) > 1e-12 || (worst > 0) != (out.Step.Usage.Calls > 0) {
						t.Errorf("%s, %s %s: billed $%v, worst case $%v", axis, Module(m), tier.Name(), model.billed, worst)
					}
					if worst, err := tier.WorstCase(t.Context(), Input{Query: in.Query}); err != nil || worst != 0 && (m == int(Filter) || m == int(Summary)) {
						t.Errorf("%s, %s %s: without items $%v, %v", axis, Module(m), tier.Name(), worst, err)
					}
				}
			}
		}
	}
	set := newSet(t, &llmtest.Client{})
	if _, err := set[Filter][2].WorstCase(t.Context(), realInput(t)); !errors.Is(err, llm.ErrUnpriced) {
		t.Errorf("a model without a price: %v", err)
	}
}
