package llm

import (
	"context"
	_ "embed"
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"strings"

	"github.com/budgetmem/budgetmem/internal/strictyaml"
)

//go:embed prices.yaml
var pricesYAML []byte

// Price is what a model costs, in dollars per million tokens.
type Price struct {
	In  float64 `json:"in" yaml:"in"`   // prompt
	Out float64 `json:"out" yaml:"out"` // reply
}

// Dollars is the price of so many tokens.
func (p Price) Dollars(in, out int) float64 {
	return (float64(in)*p.In + float64(out)*p.Out) / 1e6
}

// Prices is a price table. It never changes once made; the zero value knows no model. Names match in any case.
type Prices struct {
	byName map[string]Price // lower-case names and aliases
}

// DefaultPrices is the table that comes with the program, prices.yaml.
func DefaultPrices() Prices {
	p, err := ParsePrices("prices.yaml", pricesYAML)
	if err != nil {
		panic(err) // the file is part of the binary, and a test reads it
	}
	return p
}

// LoadPrices is the default table with the file at path over it: what the file names, at the file's price.
func LoadPrices(path string) (Prices, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Prices{}, fmt.Errorf("read prices: %w", err)
	}
	own, err := ParsePrices(path, data)
	if err != nil {
		return Prices{}, err
	}
	return DefaultPrices().with(own.byName), nil
}

// ParsePrices reads a price file, in YAML of the form of prices.yaml. Errors name the file, and the model and field or
// the line. Each name may occur once.
func ParsePrices(file string, data []byte) (Prices, error) {
	var doc struct {
		Prices []struct {
			Model   string   `yaml:"model"`
			In      *float64 `yaml:"in"`
			Out     *float64 `yaml:"out"`
			Aliases []string `yaml:"aliases"`
		} `yaml:"prices"`
	}
	if err := strictyaml.Decode(data, &doc); err != nil {
		return Prices{}, fmt.Errorf("%s: %w", file, err)
	}
	if len(doc.Prices) == 0 {
		return Prices{}, fmt.Errorf("%s: no entry under \"prices:\"", file)
	}
	byName := map[string]Price{}
	for i, e := range doc.Prices {
		at := fmt.Sprintf("%s: entry %d (%s)", file, i+1, e.Model)
		for field, dollars := range map[string]*float64{"in": e.In, "out": e.Out} {
			if dollars == nil {
				return Prices{}, fmt.Errorf("%s: field %q is missing: give dollars per million tokens", at, field)
			}
			if !(*dollars >= 0) || math.IsInf(*dollars, 0) {
				return Prices{}, fmt.Errorf("%s: field %q is %v: must be dollars per million tokens, 0 or more", at, field, *dollars)
			}
		}
		for _, name := range append([]string{e.Model}, e.Aliases...) {
			key := priceKey(name)
			if key == "" {
				return Prices{}, fmt.Errorf("%s: a model name or alias is empty", at)
			}
			if _, twice := byName[key]; twice {
				return Prices{}, fmt.Errorf("%s: the name %q is already taken in this file", at, name)
			}
			byName[key] = Price{*e.In, *e.Out}
		}
	}
	return Prices{byName}, nil
}

func priceKey(model string) string { return strings.ToLower(strings.TrimSpace(model)) }

// Set returns the table with the models' prices added or replaced.
func (p Prices) Set(prices map[string]Price) Prices {
	byKey := make(map[string]Price, len(prices))
	for model, price := range prices {
		byKey[priceKey(model)] = price
	}
	return p.with(byKey)
}

// AllowUnpriced returns the table with the named models, where it does not know them, at a price of 0. Without it a
// model that has no price is an error: a forgotten price would make the model look free.
func (p Prices) AllowUnpriced(models ...string) Prices {
	free := map[string]Price{}
	for _, m := range models {
		if _, err := p.Price(m); err != nil {
			free[priceKey(m)] = Price{}
		}
	}
	return p.with(free)
}

func (p Prices) with(over map[string]Price) Prices {
	all := maps.Clone(p.byName)
	if all == nil {
		all = map[string]Price{}
	}
	maps.Copy(all, over)
	return Prices{all}
}

// Price is the price of the model of that name or alias. The error is an ErrUnpriced.
func (p Prices) Price(model string) (Price, error) {
	price, ok := p.byName[priceKey(model)]
	if !ok {
		return Price{}, fmt.Errorf("%q: %w: add it to a price file, or allow it by name to count as free", model, ErrUnpriced)
	}
	return price, nil
}

// Models lists the names and aliases in the table, in lower case, sorted.
func (p Prices) Models() []string { return slices.Sorted(maps.Keys(p.byName)) }

// Wrap returns c with the dollars of every call filled in from its tokens. The error is an ErrUnpriced.
func (p Prices) Wrap(c Client) (Client, error) {
	price, err := p.Price(c.Model())
	if err != nil {
		return nil, err
	}
	return asClient(&priced{inner{c}, price}), nil
}

type priced struct {
	inner
	price Price
}

func (p *priced) Chat(ctx context.Context, req Request) (Response, error) {
	resp, err := p.Client.Chat(ctx, req)
	resp.Usage = p.fill(resp.Usage)
	return resp, err
}

func (p *priced) score(ctx context.Context, next Scorer, reqs []ScoreRequest) ([]Score, Usage, error) {
	scores, usage, err := next.Score(ctx, reqs)
	return scores, p.fill(usage), err
}

func (p *priced) fill(u Usage) Usage {
	u.Dollars = p.price.Dollars(u.In, u.Out)
	if u.Cached == 0 {
		u.Paid = u.Dollars
	}
	return u
}

// Bound is the most that a call can consume.
type Bound struct {
	In      int     // prompt tokens; counted if the client is a TokenCounter, else at most this many
	Out     int     // reply tokens
	Dollars float64 // at the model's price
}

// Tokens that a chat template may add: the marks around each message, and a system prompt of its own.
const (
	tokensPerMessage  = 16
	tokensPerTemplate = 256
)

// UpperBound is a number of tokens that no model's prompt made of the messages exceeds: as many as the messages have
// bytes, which tokenizers that fall back on bytes cannot exceed, plus an allowance for the chat template. It is about
// four times too many for English text, but never too few.
func UpperBound(messages []Message) int {
	n := tokensPerTemplate
	for _, m := range messages {
		n += len(m.Content) + tokensPerMessage
	}
	return n
}

// Bound returns the most that a chat with c can cost: the prompt counted if c is a TokenCounter, else by UpperBound.
func (p Price) Bound(c Client, req Request) Bound {
	b := Bound{In: promptBound(c, req.Messages), Out: req.ReplyLimit()}
	b.Dollars = p.Dollars(b.In, b.Out)
	return b
}

// scoreBound is the same for scores: prompts with their continuations, all read and nothing written. An
// implementation may bill a continuation as written, so the dearer of the two prices is taken.
func (p Price) scoreBound(c Client, reqs []ScoreRequest) Bound {
	var b Bound
	for _, r := range reqs {
		b.In += promptBound(c, r.Messages) + len(r.Continuation) + tokensPerMessage
	}
	b.Dollars = max(p.Dollars(b.In, 0), p.Dollars(0, b.In))
	return b
}

func promptBound(c Client, messages []Message) int {
	if t, ok := AsTokenCounter(c); ok {
		if n, err := t.CountTokens(messages); err == nil {
			return n
		}
	}
	return UpperBound(messages)
}
