package llm

import "context"

// StackOptions configures a Stack. Ledger, Cache and Around may be shared by several stacks.
type StackOptions struct {
	// Prices gives the model's price. The zero value knows no model, so set it: DefaultPrices, LoadPrices.
	Prices Prices
	// Ledger holds the spend limit; nil sets none.
	Ledger *Ledger
	// Retry is the retry loop; its zero value has sensible defaults. Attempts 1 turns it off.
	Retry Retry
	// Cache keeps replies; nil keeps none. Embeddings are not cached.
	Cache *Cache
	// Settings are the model's output limits; the zero value leaves requests as they are.
	Settings Settings
	// Hedge asks a second endpoint where the first one takes longer than for nearly all calls, if the client is a Hedger. Both are paid
	// for.
	Hedge bool
	// Warn is called with a line for the user, at most once per model and kind of trouble: an endpoint reports
	// impossible token counts, or a model needs more room than its calls allow. nil drops them.
	Warn func(message string)
	// Around are further layers, the first outermost. They see every call as the caller made it, and replies from the
	// cache too.
	Around []Middleware
}

// Stack puts layers around base, in the order that makes them right together. From the inside: prices, which give every
// attempt its dollars and refuse impossible token counts; the spend limits, which each attempt must pass; a second attempt elsewhere where one takes long; retries;
// reasoning, which is removed from replies and given more room if it used up the reply's limit; the cache, so that what
// is stored costs nothing; the Cap of a call's context, if it has one; and Around. The result can score if base can, and
// is a Bounder.
//
// The error is an ErrUnpriced. Calls fail with the Err values of this package.
func Stack(base Client, o StackOptions) (Client, error) {
	price, err := o.Prices.Price(base.Model())
	if err != nil {
		return nil, err
	}
	s := &stacked{inner: inner{base}, meter: newMeter(base.Model(), base, price, o.Settings, o.Warn), limits: o.Settings}
	hedger, ok := base.(Hedger)
	s.meter.hedged = ok && o.Hedge && hedger.CanHedge()
	layers := append(o.Around[:len(o.Around):len(o.Around)], s.meter.withinCap)
	if o.Cache != nil {
		layers = append(layers, o.Cache.layer(base))
	}
	layers = append(layers, rested, newReasoning(base.Model(), o.Settings, o.Warn).layer, o.Retry.layer(base.Model()))
	if s.meter.hedged {
		layers = append(layers, s.meter.hedge(hedger))
	}
	layers = append(layers, s.meter.spend(o.Ledger), s.meter.price)
	s.handle = chain(layers, direct(base))
	if _, ok := AsScorer(base); ok {
		return scoringStack{s}, nil
	}
	return s, nil
}

// EmbedFunc asks an endpoint for the vectors of texts, one for each text in order: [n, d] float32. It makes one attempt.
// On error the Usage still covers what was consumed.
type EmbedFunc func(ctx context.Context, texts []string) ([][]float32, Usage, error)

// StackEmbedder puts prices, the spend limits, retries and Around of o around an embedding call, as Stack does around a
// client. Only prompt tokens cost anything. The error is an ErrUnpriced.
func StackEmbedder(model string, embed EmbedFunc, o StackOptions) (EmbedFunc, error) {
	price, err := o.Prices.Price(model)
	if err != nil {
		return nil, err
	}
	m := newMeter(model, nil, price, o.Settings, o.Warn)
	layers := append(o.Around[:len(o.Around):len(o.Around)], m.withinCap, o.Retry.layer(model), m.spend(o.Ledger), m.price)
	handle := chain(layers, func(ctx context.Context, call Call) (reply Reply, err error) {
		reply.Vectors, reply.Usage, err = embed(ctx, call.Embed)
		return reply, err
	})
	return func(ctx context.Context, texts []string) ([][]float32, Usage, error) {
		reply, err := handle(ctx, Call{Embed: texts})
		return reply.Vectors, reply.Usage, err
	}, nil
}

// chain puts layers around a handler, the first outermost.
func chain(layers []Middleware, h Handler) Handler {
	for i := len(layers) - 1; i >= 0; i-- {
		h = layers[i](h)
	}
	return h
}
