package setup

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/budgetmem/budgetmem/bmem/embed"
	"github.com/budgetmem/budgetmem/internal/atomicfile"
	"github.com/budgetmem/budgetmem/tiers"
	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/openai"
)

// NoKey in Spec.KeyEnv says that the endpoint in its place takes no key.
const NoKey = "-"

// keyring holds the names of the variables with keys, by the origin that they may be sent to, and the origin of each setting that may
// be a secret.
type keyring struct {
	byOrigin map[string][]string
	mu       sync.Mutex
	settings map[llm.SecretSetting]string
}

// keys binds the keys of KeyEnv to endpoints. A key is sent to the origin that it was given for and to no other. One for an
// endpoint where no model is, or without any endpoint, is refused: it is a slip of the pen.
func (s Spec) keys() (*keyring, error) {
	k := &keyring{byOrigin: map[string][]string{}, settings: map[llm.SecretSetting]string{}}
	for _, name := range s.named() {
		model, at, ok := cutEndpoint(name)
		urls := []string{at}
		if !ok {
			model, urls = name, s.Endpoints
		}
		if err := k.admit(s.Models, model, at, urls); err != nil {
			return nil, err
		}
	}
	if len(s.KeyEnv) == 0 {
		return k, nil
	}
	used, err := origins(slices.Concat(s.Endpoints, s.namedEndpoints()))
	if err != nil {
		return nil, err
	}
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
		if !slices.Contains(used, at) {
			return nil, fmt.Errorf("key %q: no model is at %s; %s", entry, at, knownOrigins(used))
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
	at, err := origins(urls)
	if err != nil {
		return nil, err
	}
	different := slices.Compact(slices.Sorted(slices.Values(at)))
	switch {
	case len(urls) == 0:
		return nil, fmt.Errorf("key %q: %s", names[0], knownOrigins(nil))
	case len(different) == 1:
		k.bind(different[0], names...)
	case len(s.Endpoints) == len(names):
		for i, name := range names {
			k.bind(at[i], name)
		}
	default:
		return nil, fmt.Errorf("%d keys for %d endpoints: give one for each endpoint in order (%q for none), or URL=NAME: a key is sent to its own endpoint only",
			len(names), len(urls), NoKey)
	}
	return k, nil
}

// admit binds the settings of a model that may be secrets to the origin of its endpoints; own is its own one, "" if it has none. One
// that would be sent to another origin too is an error.
func (k *keyring) admit(models llm.Models, model, own string, endpoints []string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, secret := range models.SharedSecrets(model, own) {
		for _, u := range endpoints {
			at, err := origin(u)
			if err != nil {
				continue // openai.New says what is wrong with it
			}
			switch first, bound := k.settings[secret]; {
			case !bound:
				k.settings[secret] = at
			case first != at:
				from := "set for all models (--model-set)"
				if secret.Entry != "" {
					from = fmt.Sprintf("in the entry %q of the model settings", secret.Entry)
				}
				return fmt.Errorf("the setting %s, %s, may hold a key, and would be sent to %s and to %s: put it into a file for --model-settings, in the entry \"model: NAME@URL\" of the one model that it is for, or use --api-key-env URL=NAME",
					secret.Field, from, first, at)
			}
		}
	}
	return nil
}

// origins are those of endpoints, in order.
func origins(urls []string) ([]string, error) {
	out := make([]string, len(urls))
	for i, u := range urls {
		var err error
		if out[i], err = origin(u); err != nil {
			return nil, fmt.Errorf("endpoint %q: %w", u, err)
		}
	}
	return out, nil
}

func knownOrigins(used []string) string {
	if len(used) == 0 {
		return "all models are on this machine, which needs no key"
	}
	return "there are models at " + strings.Join(slices.Compact(slices.Sorted(slices.Values(used))), ", ")
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
	return k.byOrigin[at]
}

// named lists the models in the Spec, with those that answer in their place.
func (s Spec) named() []string {
	named := slices.Concat([]string{s.Model, s.Embedder}, mapValues(s.Roles), s.Later)
	for _, name := range slices.Clone(named) {
		named = append(named, s.fallbacks(name)...)
	}
	return named
}

// namedEndpoints lists the endpoints of NAME@URL in the Spec.
func (s Spec) namedEndpoints() []string {
	var urls []string
	for _, name := range s.named() {
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
	if err := sys.keys.admit(sys.spec.Models, model, own, endpoints); err != nil {
		return nil, err
	}
	config := openai.Config{Model: model, Timeout: sys.spec.Timeout, Settings: sys.spec.Models.For(model, own), Warn: sys.spec.Warn}
	for _, u := range endpoints {
		keys := sys.keys.of(u)
		if own != "" && len(config.Settings.KeyEnv) > 0 {
			keys = config.Settings.KeyEnv
		}
		config.Endpoints = append(config.Endpoints, openai.Endpoint{BaseURL: u, KeyEnv: keys})
	}
	if o := sys.spec.Observer; o != nil {
		config.Transport = o.Transport
	}
	client, err := openai.New(config)
	if err == nil {
		sys.mu.Lock()
		defer sys.mu.Unlock()
		sys.endpoints = append(sys.endpoints, client)
	}
	return client, err
}

// Endpoints says how the endpoints do that models and embedder are at, one entry for each model and endpoint.
func (sys *System) Endpoints() []openai.EndpointState {
	sys.mu.Lock()
	defer sys.mu.Unlock()
	var out []openai.EndpointState
	for _, c := range sys.endpoints {
		out = append(out, c.Endpoints()...)
	}
	return out
}

// fallbacks names the models that answer in place of one where all of its endpoints fail.
func (s Spec) fallbacks(name string) []string {
	model, endpoint, ok := cutEndpoint(name)
	if !ok {
		model, endpoint = name, ""
	}
	others := s.Models.For(model, endpoint).Fallback
	if name == s.Model {
		others = slices.Concat(s.Fallback, others)
	}
	var out []string
	for _, other := range others {
		if other != name && !slices.Contains(out, other) { // a setting for all models is one for itself too
			out = append(out, other)
		}
	}
	return out
}

// stackOptions is what all models share, with the model's own settings.
func (sys *System) stackOptions(w whereabouts) llm.StackOptions {
	prices := sys.prices
	if sys.spec.AllowUnpriced {
		prices = prices.AllowUnpriced(w.name)
	}
	o := llm.StackOptions{Prices: prices, Ledger: sys.Ledger, Cache: sys.cache, Settings: sys.spec.Models.For(w.name, w.endpoint), Hedge: sys.spec.Hedge, Warn: sys.spec.Warn}
	if sys.spec.Observer != nil {
		o.Around = []llm.Middleware{sys.spec.Observer.Calls(w.name, w.path != "")}
	}
	return o
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
	known := widthFile(filepath.Join(sys.cacheDir, WidthsFile))
	key := client.ID() + " @ " + at // the parameters in the ID may decide the width
	dim := known.get(key)
	e, err := embed.NewOpenAI(ctx, at, name, dim, func(ctx context.Context, texts []string) ([][]float32, error) {
		vectors, usage, err := call(ctx, texts)
		sys.mu.Lock()
		sys.embedded = sys.embedded.Add(usage)
		sys.mu.Unlock()
		if err == nil && dim > 0 && len(vectors) > 0 && len(vectors[0]) != dim {
			known.put(key, len(vectors[0]))
			err = fmt.Errorf("its vectors had %d numbers and have %d now: give the command again, which embeds anew what there is", dim, len(vectors[0]))
		}
		return vectors, err
	})
	if err == nil && dim == 0 {
		known.put(key, e.Dim())
	}
	return e, err
}

// WidthsFile in the cache folder remembers how wide the vectors of embedders at endpoints are, which costs a call to learn.
const WidthsFile = "widths.json"

// widthFile is the path of a WidthsFile.
type widthFile string

func (f widthFile) read() map[string]int {
	widths := map[string]int{}
	if data, err := os.ReadFile(string(f)); err == nil {
		_ = json.Unmarshal(data, &widths) // a damaged file is like none
	}
	return widths
}

// get returns a width, 0 if it is not known.
func (f widthFile) get(key string) int { return max(f.read()[key], 0) }

// put remembers a width. Where it cannot, it is asked for again the next time.
func (f widthFile) put(key string, width int) {
	widths := f.read()
	widths[key] = width
	_ = atomicfile.WriteJSON(string(f), widths)
}

// Embedded is what embedding at an endpoint has consumed so far, in this process; zero for an embedder on this machine.
func (sys *System) Embedded() llm.Usage {
	sys.mu.Lock()
	defer sys.mu.Unlock()
	return sys.embedded
}
