package llm

// StackOptions says what Stack puts around a client. Each is shared by all stacks that name it.
type StackOptions struct {
	// Prices fills in dollars. Its zero value knows no model, so set it: DefaultPrices, LoadPrices.
	Prices Prices
	// Ledger holds the spend limit; nil sets none.
	Ledger *Ledger
	// Retry is the retry loop; its zero value has sensible defaults. Attempts 1 turns it off.
	Retry Retry
	// Cache keeps replies; nil keeps none.
	Cache *Cache
	// Stats counts; nil counts nothing.
	Stats *Stats
}

// Stack puts the wrappers around base, in the order that makes them right together. From the inside: prices, so that
// every attempt has its dollars; the spend limit, which each attempt must pass; retries; the cache, so that what is stored
// costs nothing; statistics, which see cached replies too; and the Cap of a call's context, if it has one. The result can score if
// base can. The error is an ErrUnpriced.
func Stack(base Client, o StackOptions) (Client, error) {
	price, err := o.Prices.Price(base.Model())
	if err != nil {
		return nil, err
	}
	c, err := o.Prices.Wrap(base)
	if err != nil {
		return nil, err
	}
	if o.Ledger != nil {
		if c, err = o.Ledger.Wrap(c, o.Prices); err != nil {
			return nil, err
		}
	}
	c = o.Retry.Wrap(asClient(&attempts{inner{c}}))
	if o.Cache != nil {
		c = o.Cache.Wrap(c)
	}
	if o.Stats != nil {
		c = o.Stats.Wrap(c)
	}
	return asClient(&capped{inner{c}, price}), nil
}
