package llm

import "context"

// inner is the client that a wrapper wraps. Embedded, it passes Model and ID on and lets AsTokenCounter look through.
type inner struct{ Client }

// Unwrap returns the wrapped client.
func (in inner) Unwrap() Client { return in.Client }

// layer is a wrapper that knows what to do around a Score as well as around a Chat.
type layer interface {
	Client
	Unwrap() Client
	score(ctx context.Context, next Scorer, reqs []ScoreRequest) ([]Score, Usage, error)
}

// scoringLayer is a layer over a client that can score.
type scoringLayer struct {
	layer
	next Scorer
}

func (s scoringLayer) Score(ctx context.Context, reqs []ScoreRequest) ([]Score, Usage, error) {
	return s.layer.score(ctx, s.next, reqs)
}

// asClient returns l with a Score method if the client it wraps has one, else without.
func asClient(l layer) Client {
	if next, ok := AsScorer(l.Unwrap()); ok {
		return scoringLayer{l, next}
	}
	return l
}
