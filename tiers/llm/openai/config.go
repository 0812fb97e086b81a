// Package openai reaches models behind any OpenAI-compatible endpoint: llm.Client for chats, and embeddings.
//
// It sends what the API documents and reads replies tolerantly: only the fields it uses, in the forms that endpoints are
// known to send. Where an endpoint refuses a parameter and says what to send instead, the client follows once and
// remembers it; see Config.Warn. Errors are *llm.Error in the endpoint's words.
package openai

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/budgetmem/budgetmem/tiers/llm"
)

// Endpoint is an address that calls are sent to.
type Endpoint struct {
	// BaseURL is the address up to and with the version, such as "http://localhost:8000/v1". A query in it, such as
	// Azure's ?api-version=2024-10-21, is sent with every call.
	BaseURL string `json:"base_url" yaml:"base_url"`
	// KeyEnv names the environment variables that hold the endpoint's keys; calls use them in turn. None: no key is sent.
	KeyEnv []string `json:"key_env,omitempty" yaml:"key_env,omitempty"`
}

// DefaultTimeout bounds an attempt where Config.Timeout does not.
const DefaultTimeout = 2 * time.Minute

// defaultBatch is the most texts sent in one embedding call where Settings.EmbedBatch does not say.
const defaultBatch = 128

// Config says which model to ask, and where. It holds names of keys, never keys, and may be stored as it is.
type Config struct {
	// Model is the model's name at the endpoints, and in prices and reports.
	Model string `json:"model" yaml:"model"`
	// Endpoints serve the same model. The calls of a session (llm.WithSession) go to one of them while that is not much busier than
	// the others, so that its prefix cache serves them; other calls, and the keys of one endpoint, take turns by what they have in
	// flight. One that limits calls, says in its x-ratelimit headers that it is about to, or fails repeatedly while others work, is
	// left alone for a while; one call at a time then tries whether it works again.
	Endpoints []Endpoint `json:"endpoints" yaml:"endpoints"`
	// Timeout bounds one attempt; 0 means DefaultTimeout.
	Timeout time.Duration `json:"timeout,omitempty" yaml:"timeout,omitempty"`
	// Cooldown is how long an endpoint is left alone that limits calls without saying for how long, or, while there are
	// others, that failed three times in a row. It doubles with each further failure, up to 30 s. 0 means 1 s.
	Cooldown time.Duration `json:"cooldown,omitempty" yaml:"cooldown,omitempty"`
	// Exact trusts the endpoint, which is then this project's own server: an empty reply is a reply, and sampling is
	// seeded by 0 too.
	Exact bool `json:"exact,omitempty" yaml:"exact,omitempty"`
	// Settings are the model's entry of the model configuration.
	Settings llm.Settings `json:"settings,omitzero" yaml:"settings,omitempty"`
	// Retry is the retry loop of Embeddings and Models. Chats are retried by llm.Stack.
	Retry llm.Retry `json:"-" yaml:"-"`
	// Warn is called with a line for the user when the client follows an endpoint's hint; nil drops it.
	Warn func(message string) `json:"-" yaml:"-"`
	// Transport, if not nil, wraps what sends requests, to watch them: EndpointOf says which endpoint a request is for. It sees keys.
	Transport func(http.RoundTripper) http.RoundTripper `json:"-" yaml:"-"`
}

// route is one endpoint with one key.
type route struct {
	base  *url.URL
	query url.Values
	key   string
	azure bool // the key goes into the header api-key
}

// address is the URL of a path below the base URL.
func (r route) address(path string) string {
	u := r.base.JoinPath(path)
	u.RawQuery = r.query.Encode()
	return u.String()
}

// Client is an llm.Client. It makes one attempt a call; llm.Stack adds retries and all else. Safe for concurrent use.
type Client struct {
	config  Config
	id      string
	former  []string
	headers http.Header
	routes  []route
	http    *http.Client
	turns   *rotation
	secret  redactor
	learned learned
}

// New reads the keys from the environment. Keys stay in memory only: they are in no error, no log and no file, also when
// an endpoint sends one back. Errors name the field or the variable that is missing.
func New(c Config) (*Client, error) {
	if c.Model == "" {
		return nil, errors.New("openai: field model is empty: name a model of the endpoint")
	}
	if len(c.Endpoints) == 0 {
		return nil, fmt.Errorf("openai: model %s: field endpoints is empty: give at least one base URL", c.Model)
	}
	if err := c.Settings.Check(); err != nil {
		return nil, fmt.Errorf("openai: model %s: %w", c.Model, err)
	}
	if c.Timeout <= 0 {
		c.Timeout = DefaultTimeout
	}
	if c.Warn == nil {
		c.Warn = func(string) {}
	}
	asGiven := c.Settings
	c.Settings = asGiven.Plain()
	client := &Client{config: c, http: newHTTP(c.Transport)}
	client.learned = learned{newName: c.Settings.MaxCompletionTokens, noTemperature: c.Settings.NoTemperature, batch: c.Settings.EmbedBatch, warned: map[string]bool{}}
	if client.learned.batch <= 0 {
		client.learned.batch = defaultBatch
	}
	var err error
	if client.headers, err = client.readHeaders(); err != nil {
		return nil, fmt.Errorf("openai: model %s: %w", c.Model, err)
	}
	query, err := client.readQuery()
	if err != nil {
		return nil, fmt.Errorf("openai: model %s: %w", c.Model, err)
	}
	suffix := parameters(c.Settings)
	var endpointOf []int // of each route
	for i, e := range c.Endpoints {
		base, ownQuery, err := parseBase(e.BaseURL)
		if err != nil {
			return nil, fmt.Errorf("openai: model %s: endpoint %d: %w", c.Model, i+1, err)
		}
		if c.Settings.Family == "" {
			client.addFormer("openai:" + base.Host + strings.TrimRight(base.Path, "/") + "/" + c.Model + parameters(asGiven))
		}
		for name, value := range query {
			ownQuery.Set(name, value)
		}
		keys, err := readKeys(e.KeyEnv)
		if err != nil {
			return nil, fmt.Errorf("openai: model %s: endpoint %s: %w", c.Model, base.Host, err)
		}
		if base.Hostname() == "api.openai.com" {
			client.learned.newName = true
		}
		for _, key := range keys {
			client.secret.add(key)
			client.routes = append(client.routes, route{base, ownQuery, key, isAzure(base)})
			endpointOf = append(endpointOf, i)
		}
	}
	family := "model:"
	if c.Settings.Family != "" {
		family = "openai:" + c.Settings.Family + "/"
	}
	client.id = family + c.Model + suffix
	if before := family + c.Model + parameters(asGiven); before != client.id {
		client.addFormer(before)
	}
	client.turns = newRotation(endpointOf, c.Cooldown)
	return client, nil
}

// addFormer adds an ID under which earlier versions kept the client's replies.
func (c *Client) addFormer(id string) {
	if !slices.Contains(c.former, id) {
		c.former = append(c.former, id)
	}
}

// parameters is what tells the replies of one model apart by its settings, as a suffix of its ID.
func parameters(s llm.Settings) string {
	var parts []string
	if s.NoTemperature {
		parts = append(parts, "temperature=default")
	}
	if s.Weights != "" {
		parts = append(parts, "weights="+url.QueryEscape(s.Weights))
	}
	if s.ReasoningEffort != "" {
		parts = append(parts, "reasoning_effort="+url.QueryEscape(s.ReasoningEffort))
	}
	if len(s.Parameters) > 0 {
		parts = append(parts, "parameters="+url.QueryEscape(string(mustJSON(s.Parameters))))
	}
	if len(parts) == 0 {
		return ""
	}
	return "?" + strings.Join(parts, "&")
}

// callRE parts a base URL's path from that of a call; some names are those of calls only behind a version.
var callRE = regexp.MustCompile(`^(.*?)/(?:chat/completions|completions|embeddings)$|^(.*/v\d+)/(?:responses|models|chat)$`)

// parseBase reads a base URL. The path of a call, which some give too, is taken off. Errors say what is likely meant.
func parseBase(text string) (*url.URL, url.Values, error) {
	const form = "field base_url must look like https://host/v1"
	text = strings.TrimSpace(text)
	if strings.ContainsAny(text, ", \t\"'") {
		return nil, nil, errors.New(form + ": give one URL each time, without quotation marks")
	}
	if !strings.Contains(text, "://") {
		if bare, err := url.Parse("http://" + text); err == nil && (bare.Port() != "" || strings.Contains(bare.Host, ".")) {
			return nil, nil, fmt.Errorf("%s: it begins with http:// or https://, as in %s", form, bare.Redacted())
		}
	}
	base, err := url.Parse(text)
	if err != nil || (base.Scheme != "http" && base.Scheme != "https") || base.Host == "" || base.User != nil {
		return nil, nil, errors.New(form + ", with no user or password in it")
	}
	if port, err := strconv.Atoi(cmp.Or(base.Port(), "80")); err != nil || port < 1 || port > 65535 {
		return nil, nil, fmt.Errorf("%s: there is no port %s", form, base.Port())
	}
	query := base.Query()
	base.RawQuery, base.Fragment = "", ""
	base = base.JoinPath() // cleans the path
	path := strings.TrimRight(base.Path, "/")
	for _, own := range []string{"/api/chat", "/api/generate"} {
		if strings.HasSuffix(path, own) {
			base.Path, base.RawPath = strings.TrimSuffix(path, own)+"/v1", ""
			return nil, nil, fmt.Errorf("%s: %s is Ollama's own interface; its OpenAI-compatible one is %s", form, own, base.Redacted())
		}
	}
	if m := callRE.FindStringSubmatch(path); m != nil {
		base.Path, base.RawPath = m[1]+m[2], ""
	}
	return base, query, nil
}

// isAzure says whether an address is one of Azure's, which take a key in a header of their own.
func isAzure(base *url.URL) bool {
	return strings.HasSuffix(base.Hostname(), ".azure.com") || strings.Contains(base.Path, "/openai/deployments/")
}

// readKeys returns the values of the variables; one empty key if none is named.
func readKeys(names []string) ([]string, error) {
	if len(names) == 0 {
		return []string{""}, nil
	}
	keys := make([]string, len(names))
	for i, name := range names {
		if keys[i] = strings.TrimSpace(os.Getenv(name)); keys[i] == "" {
			return nil, fmt.Errorf("environment variable %s is not set: put the endpoint's key there", name)
		}
	}
	return keys, nil
}

var variableRE = regexp.MustCompile(`\$(?:\{(\w+)\}|(\w+))`)

// readHeaders fills in the headers' environment variables.
func (c *Client) readHeaders() (http.Header, error) {
	out := http.Header{}
	for name, value := range c.config.Settings.Headers {
		value, err := c.fill(name, value)
		if err != nil {
			return nil, fmt.Errorf("field headers: %w", err)
		}
		out.Set(name, value)
	}
	return out, nil
}

// readQuery fills in the environment variables of the query's values.
func (c *Client) readQuery() (map[string]string, error) {
	out := map[string]string{}
	for name, value := range c.config.Settings.Query {
		var err error
		if out[name], err = c.fill(name, value); err != nil {
			return nil, fmt.Errorf("field query: %w", err)
		}
	}
	return out, nil
}

// fill fills in the environment variables that the value of a header or of the query names. What may be a secret is remembered as one.
func (c *Client) fill(name, value string) (string, error) {
	var missing []string
	filled := variableRE.ReplaceAllStringFunc(value, func(ref string) string {
		env := strings.Trim(ref, "${}")
		secret := strings.TrimSpace(os.Getenv(env))
		if secret == "" {
			missing = append(missing, env)
		}
		c.secret.add(secret)
		return secret
	})
	if len(missing) > 0 {
		return "", fmt.Errorf("environment variable %s is not set", slices.Min(missing))
	}
	if llm.MayBeSecret(name, value) {
		c.secret.add(filled)
	}
	return filled, nil
}

// Model is the configured model's name.
func (c *Client) Model() string { return c.config.Model }

// ID is "model:", the name, and the settings that change replies. With Settings.Family it is "openai:", the family, "/"
// and the name. It does not depend on the endpoints' addresses.
func (c *Client) ID() string { return c.id }

// FormerIDs are the IDs that earlier versions gave to the model, one for each endpoint. Replies that are cached under
// these are still found.
func (c *Client) FormerIDs() []string { return c.former }

// String returns the ID. With GoString it keeps keys out of whatever prints a Client.
func (c *Client) String() string { return c.id }

// GoString returns the ID.
func (c *Client) GoString() string { return c.id }
