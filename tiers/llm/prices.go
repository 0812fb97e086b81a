package llm

import (
	_ "embed"
	"fmt"
	"maps"
	"math"
	"os"
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

// Dollars is the price of in prompt tokens and out reply tokens.
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

// LoadPrices is the default table with the file at path over it: what the file names, at the file's price. A file that cannot
// be read, and what ParsePrices refuses, are errors.
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
	key := priceKey(model)
	price, ok := p.byName[key]
	if base, _, tuned := strings.Cut(key, "+"); !ok && tuned {
		price, ok = p.byName[base] // an adapter costs what its base model costs
	}
	if !ok {
		return Price{}, fmt.Errorf("%q: %w: add it to a price file, or allow it by name to count as free", model, ErrUnpriced)
	}
	return price, nil
}
