package setup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/budgetmem/budgetmem/bmem/embed"
	"github.com/budgetmem/budgetmem/tiers"
	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/openai"
)

// NoKey in Spec.KeyEnv says that the endpoint in its place takes no key.
const NoKey = "-"

// keyring holds the names of the variables with keys, by the origin that they may be sent to.
type keyring struct {
	byOrigin map[string][]string
	// loose are keys given without any endpoint: they belong to the first origin that is asked for.
	loose []string
}

// keys binds the keys of KeyEnv to endpoints. A key is sent to the origin that it was given for and to no other.
func (s Spec) keys() (*keyring, error) {
	k := &keyring{byOrigin: map[string][]string{}}
	var names []string
	for _, entry := range s.KeyEnv {
		i := strings.LastIndex(entry, "=")
		if i < 0 {
			names = append(names, entry)
			continue
		}
		at, err := origin(entry[:i])
		if err != nil {
			return nil, fmt.Errorf("key %q: want the name of an environment variable, or URL=NAME: %w", entry, err)
		}
		k.bind(at, entry[i+1:])
	}
	if len(names) == 0 {
		return k, nil
	}
	urls := s.Endpoints
	if len(urls) == 0 {
		urls = s.namedEndpoints()
	}
	origins := make([]string, len(urls))
	for i, u := range urls {
		var err error
		if origins[i], err = origin(u); err != nil {
			return nil, fmt.Errorf("endpoint %q: %w", u, err)
		}
	}
	different := slices.Compact(slices.Sorted(slices.Values(origins)))
	switch {
	case len(urls) == 0:
		k.loose = names
	case len(different) == 1:
		k.bind(different[0], names...)
	case len(s.Endpoints) == len(names):
		for i, name := range names {
			k.bind(origins[i], name)
		}
	default:
		return nil, fmt.Errorf("%d keys for %d endpoints: give one for each endpoint in order (%q for none), or URL=NAME: a key is sent to its own endpoint only",
			len(names), len(urls), NoKey)
	}
	return k, nil
}

func (k *keyring) bind(origin string, names ...string) {
	for _, name := range names {
		if name != NoKey && !slices.Contains(k.byOrigin[origin], name) {
			k.byOrigin[origin] = append(k.byOrigin[origin], name)
		}
	}
}

// of returns the names of the keys for an endpoint.
func (k *keyring) of(endpoint string) []string {
	at, err := origin(endpoint)
	if err != nil {
		return nil // openai.New says what is wrong with it
	}
	k.bind(at, k.loose...)
	k.loose = nil
	return k.byOrigin[at]
}

// namedEndpoints lists the endpoints of NAME@URL in the Spec.
func (s Spec) namedEndpoints() []string {
	var urls []string
	for _, name := range append([]string{s.Embedder}, mapValues(s.Roles)...) {
		if _, u, ok := cutEndpoint(name); ok {
			urls = append(urls, u)
		}
	}
	return urls
}

func mapValues(m map[string]string) []string {
	var out []string
	for _, v := range m {
		out = append(out, v)
	}
	slices.Sort(out)
	return out
}

// origin is the scheme, host and port of a URL.
func origin(text string) (string, error) {
	u, err := url.Parse(strings.TrimSpace(text))
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return "", errors.New("want a base URL such as https://host/v1")
	}
	port := cmp.Or(u.Port(), map[string]string{"http": "80", "https": "443"}[u.Scheme])
	return u.Scheme + "://" + strings.ToLower(u.Hostname()) + ":" + port, nil
}

// base opens a model with nothing around it.
func (sys *System) base(ctx context.Context, w whereabouts) (llm.Client, error) {
	if w.path != "" {
		client, err := sys.spec.Engine.Model(ctx, w.name, w.path, w.adapter)
		if err != nil {
			return nil, err
		}
		return client, tiers.CheckTuned(client)
	}
	endpoints := sys.spec.Endpoints
	if w.endpoint != "" {
		endpoints = []string{w.endpoint}
	}
	return sys.endpointClient(w.name, w.endpoint, endpoints)
}

// endpointClient returns a client for a model at endpoints; own is the model's own one, "" if it has none.
func (sys *System) endpointClient(model, own string, endpoints []string) (*openai.Client, error) {
	config := openai.Config{Model: model, Timeout: sys.spec.Timeout, Settings: sys.spec.Models.For(model, own), Warn: sys.spec.Warn}
	for _, u := range endpoints {
		keys := sys.keys.of(u)
		if own != "" && len(config.Settings.KeyEnv) > 0 {
			keys = config.Settings.KeyEnv
		}
		config.Endpoints = append(config.Endpoints, openai.Endpoint{BaseURL: u, KeyEnv: keys})
	}
	return openai.New(config)
}

// stackOptions is what all models share, with the model's own settings.
func (sys *System) stackOptions(w whereabouts) llm.StackOptions {
	prices := sys.prices
	if sys.spec.AllowUnpriced {
		prices = prices.AllowUnpriced(w.name)
	}
	return llm.StackOptions{Prices: prices, Ledger: sys.Ledger, Cache: sys.cache, Settings: sys.spec.Models.For(w.name, w.endpoint), Warn: sys.spec.Warn}
}

// endpointEmbedder opens the embedder at an endpoint. Its calls have a price and count in the spend limit.
func (sys *System) endpointEmbedder(ctx context.Context) (embed.Embedder, error) {
	name, at, ok := cutEndpoint(sys.spec.Embedder)
	if !ok {
		return nil, fmt.Errorf("embedder %q: want NAME@URL, the model's name and the base URL of its endpoint", sys.spec.Embedder)
	}
	client, err := sys.endpointClient(name, at, []string{at})
	if err != nil {
		return nil, fmt.Errorf("embedder: %w", err)
	}
	call, err := client.Embedder(sys.stackOptions(whereabouts{name: name, endpoint: at}))
	if err != nil {
		return nil, fmt.Errorf("embedder: %w", err)
	}
	return embed.NewOpenAI(ctx, at, name, func(ctx context.Context, texts []string) ([][]float32, error) {
		vectors, usage, err := call(ctx, texts)
		sys.mu.Lock()
		defer sys.mu.Unlock()
		sys.embedded = sys.embedded.Add(usage)
		return vectors, err
	})
}

// Embedded is what embedding at an endpoint has consumed so far, in this process; zero for an embedder on this machine.
func (sys *System) Embedded() llm.Usage {
	sys.mu.Lock()
	defer sys.mu.Unlock()
	return sys.embedded
}
