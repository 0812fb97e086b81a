package llm

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// layer keeps the replies of a client. A reply from the cache has the usage of the call that made it, tokens, dollars and
// milliseconds, but Cached is 1 and Paid 0. Callers who ask the same at the same time share one call, and only the first
// of them is charged for it. Failed calls are not kept, except those cut inside their reasoning, which were paid for and
// would end the same way. Each score of a batch is asked for and kept by itself: batches overlap, as when two modules rate
// some of the same turns.
func (c *Cache) layer(client Client) Middleware {
	return func(next Handler) Handler {
		k := &keeper{cache: c, ids: append([]string{client.ID()}, formerIDs(client)...), model: client.Model(), next: next}
		return func(ctx context.Context, call Call) (Reply, error) {
			if call.Chat != nil {
				return k.chat(ctx, call)
			}
			return k.scores(ctx, call)
		}
	}
}

// formerIDs are IDs under which earlier versions kept the replies of the same client.
func formerIDs(c Client) []string {
	if f, ok := c.(interface{ FormerIDs() []string }); ok {
		return f.FormerIDs()
	}
	return nil
}

// keeper keeps one client's replies.
type keeper struct {
	cache *Cache
	ids   []string // the client's, then former ones
	model string
	next  Handler
}

func (k *keeper) chat(ctx context.Context, call Call) (Reply, error) {
	req := *call.Chat
	req.MaxTokens = req.ReplyLimit() // unset and set to the default is the same request
	e, err := k.get(ctx, "chat", req, func(ctx context.Context) (entry, error) {
		reply, err := k.next(ctx, call)
		e := entry{Text: reply.Text, Finish: reply.Finish, Usage: reply.Usage, LogProbs: reply.LogProbs, Others: reply.Others}
		if cut := (*Error)(nil); errors.Is(err, ErrReasoning) && errors.As(err, &cut) {
			e.Cut = cut.Message
			return e, nil
		}
		return e, err
	})
	reply := Reply{Response: Response{Text: e.Text, Finish: e.Finish, Usage: e.Usage, LogProbs: e.LogProbs, Others: e.Others}}
	if err == nil && e.Cut != "" {
		err = fmt.Errorf("chat with %s: %w", k.model, &Error{Kind: ErrReasoning, Final: true, Message: e.Cut})
	}
	return reply, err
}

func (k *keeper) scores(ctx context.Context, call Call) (Reply, error) {
	reqs := call.Score
	replies, errs := make([]Reply, len(reqs)), make([]error, len(reqs))
	calls := make([]Call, len(reqs))
	for i := range reqs {
		calls[i].Score = reqs[i : i+1]
	}
	var all sync.WaitGroup
	for i, part := range call.charge.parts(calls) {
		calls[i].charge = part
		all.Go(func() {
			replies[i], errs[i] = k.score(ctx, calls[i])
			part.end(replies[i].Usage, errs[i])
		})
	}
	all.Wait()
	out := Reply{Scores: make([]Score, 0, len(reqs))}
	for _, r := range replies {
		ms := max(out.Usage.MS, r.Usage.MS) // they run side by side
		out.Usage = out.Usage.Add(r.Usage)
		out.Usage.MS = ms
		out.Scores = append(out.Scores, r.Scores...)
	}
	for _, err := range errs {
		if err != nil {
			return Reply{Response: Response{Usage: out.Usage}}, err
		}
	}
	return out, nil
}

// score asks for a single score.
func (k *keeper) score(ctx context.Context, call Call) (Reply, error) {
	e, err := k.get(ctx, "score", call.Score, func(ctx context.Context) (entry, error) {
		reply, err := k.next(ctx, call)
		return entry{Scores: reply.Scores, Usage: reply.Usage}, err
	})
	reply := Reply{Response: Response{Usage: e.Usage}, Scores: e.Scores}
	if err == nil && len(e.Scores) != 1 {
		err = fmt.Errorf("score with %s: %d scores for a request", k.model, len(e.Scores))
	}
	return reply, err
}

// get returns the entry of a request, from the file, from a call in flight, or by making one.
func (k *keeper) get(ctx context.Context, kind string, request any, call func(context.Context) (entry, error)) (entry, error) {
	keys := make([]cacheKey, len(k.ids))
	for i, id := range k.ids {
		key, err := newCacheKey(kind, id, request)
		if err != nil {
			return entry{}, err
		}
		keys[i] = key
	}
	return k.cache.get(ctx, keys, k.ids[0], call)
}
