package llm

import "context"

// Call is one call to a model on its way through a Stack. Exactly one of Chat, Score and Embed is set.
type Call struct {
	// Chat asks for a reply.
	Chat *Request
	// Score asks how likely continuations are.
	Score []ScoreRequest
	// Embed asks for the vectors of texts.
	Embed []string

	charge *charge // money held by the Cap of the call's context; nil without one
}

// Reply is what a Call returned.
type Reply struct {
	// Response holds the reply to a chat. Its Usage is set for every kind of call, and on error too.
	Response
	// Scores has one entry for each request of a Score call.
	Scores []Score
	// Vectors has one row for each text of an Embed call: [n, d] float32.
	Vectors [][]float32
}

// Handler makes a call. On error the Reply still carries the Usage of what was consumed.
type Handler func(ctx context.Context, call Call) (Reply, error)

// Middleware adds behaviour around a Handler: it may change a call before it passes it to next, and the reply after.
// All layers of a Stack have this type, and StackOptions.Around takes more of them.
type Middleware func(next Handler) Handler

// stacked is a client with layers around it.
type stacked struct {
	inner
	meter  meter
	limits Settings
	handle Handler
}

// inner is the client that another wraps. Embedded, it passes Model and ID on and lets AsTokenCounter look through.
type inner struct{ Client }

// Unwrap returns the wrapped client.
func (in inner) Unwrap() Client { return in.Client }

// Chat passes the request through all layers.
func (s *stacked) Chat(ctx context.Context, req Request) (Response, error) {
	req = s.limits.apply(req)
	reply, err := s.handle(ctx, Call{Chat: &req})
	return reply.Response, err
}

// Bound implements Bounder.
func (s *stacked) Bound(req Request) Bound {
	req = s.limits.apply(req)
	call := Call{Chat: &req}
	b := s.meter.bound(call)
	b.Dollars *= float64(s.meter.attempts(call))
	return b
}

// ScoreBound implements Bounder.
func (s *stacked) ScoreBound(reqs []ScoreRequest) Bound { return s.meter.bound(Call{Score: reqs}) }

// scoringStack is a stack around a client that can score.
type scoringStack struct{ *stacked }

// Score passes the requests through all layers.
func (s scoringStack) Score(ctx context.Context, reqs []ScoreRequest) ([]Score, Usage, error) {
	reply, err := s.handle(ctx, Call{Score: reqs})
	return reply.Scores, reply.Usage, err
}

// direct is the innermost Handler: it calls the client itself.
func direct(c Client) Handler {
	scorer, _ := AsScorer(c)
	return func(ctx context.Context, call Call) (reply Reply, err error) {
		if call.Chat == nil {
			reply.Scores, reply.Usage, err = scorer.Score(ctx, call.Score)
			return reply, err
		}
		reply.Response, err = c.Chat(ctx, *call.Chat)
		return reply, err
	}
}
