// Package openai reaches models behind any OpenAI-compatible endpoint: llm.Client for chats, and embeddings.
package openai

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	goopenai "github.com/sashabaranov/go-openai"

	"github.com/budgetmem/budgetmem/tiers/llm"
)

// Endpoint is a place to send calls to.
type Endpoint struct {
	// BaseURL is the address up to and with the version, such as "http://localhost:8000/v1".
	BaseURL string `json:"base_url" yaml:"base_url"`
	// KeyEnv names the environment variables that hold the keys; each key takes its turn. None: no key is sent.
	KeyEnv []string `json:"key_env,omitempty" yaml:"key_env,omitempty"`
}

// DefaultTimeout bounds an attempt where Config.Timeout does not.
const DefaultTimeout = 2 * time.Minute

// Config says which model and where. It holds names of keys, never keys, and may be stored as it is.
type Config struct {
	// Model is the model's name at the endpoints, and in prices and reports.
	Model string `json:"model" yaml:"model"`
	// Endpoints serve the same model; calls go to them, and to the keys of each, round robin. One that limits calls, or
	// fails repeatedly while others work, is left alone for a while.
	Endpoints []Endpoint `json:"endpoints" yaml:"endpoints"`
	// Family stands for the endpoints in the client's ID, and so in the keys of the response cache. "" means the first
	// endpoint's host and path. Name it to share a cache between endpoints that serve the same weights.
	Family string `json:"family,omitempty" yaml:"family,omitempty"`
	// Timeout bounds one attempt; 0 means DefaultTimeout.
	Timeout time.Duration `json:"timeout,omitempty" yaml:"timeout,omitempty"`
	// Cooldown is how long an endpoint is left alone that limits calls without saying for how long, or, while there are
	// others, that failed three times in a row. It doubles with each further failure, up to 30 s. 0 means 1 s.
	Cooldown time.Duration `json:"cooldown,omitempty" yaml:"cooldown,omitempty"`
	// MaxCompletionTokens sends the reply's limit under that newer name, as OpenAI's own newer models want. Implied
	// for endpoints at api.openai.com.
	MaxCompletionTokens bool `json:"max_completion_tokens,omitempty" yaml:"max_completion_tokens,omitempty"`
	// NoTemperature leaves the temperature to the endpoint, for models that refuse to be told.
	NoTemperature bool `json:"no_temperature,omitempty" yaml:"no_temperature,omitempty"`
	// Exact takes what the model says at its word, for endpoints that are this project's own server: an empty reply is a reply, and
	// sampling is seeded by 0 too.
	Exact bool `json:"exact,omitempty" yaml:"exact,omitempty"`
	// EmbedBatch is the most texts sent in one embedding call; 0 means 128.
	EmbedBatch int `json:"embed_batch,omitempty" yaml:"embed_batch,omitempty"`
	// Retry is the retry loop of Embeddings. Chats are retried by llm.Stack.
	Retry llm.Retry `json:"-" yaml:"-"`
}

// route is one endpoint with one key.
type route struct {
	api       *goopenai.Client
	base, key string
	modern    bool // wants max_completion_tokens
}

// Client is a llm.Client. It makes one attempt a call; llm.Stack adds retries and all else. Safe for concurrent use.
type Client struct {
	config Config
	id     string
	routes []route
	doer   *transport
	turns  *rotation
	secret redactor
}

// New reads the keys from the environment. Keys stay in memory only: they are in no error, no log and no file, also when
// an endpoint sends one back.
func New(c Config) (*Client, error) {
	if c.Model == "" {
		return nil, errors.New("openai: field model is empty: name a model of the endpoint")
	}
	if len(c.Endpoints) == 0 {
		return nil, fmt.Errorf("openai: model %s: field endpoints is empty: give at least one base URL", c.Model)
	}
	if c.Timeout <= 0 {
		c.Timeout = DefaultTimeout
	}
	if c.EmbedBatch <= 0 {
		c.EmbedBatch = 128
	}
	doer := &transport{http: &http.Client{Transport: newTransport()}}
	client := &Client{config: c, doer: doer}
	for i, e := range c.Endpoints {
		base, err := url.Parse(e.BaseURL)
		if err != nil || (base.Scheme != "http" && base.Scheme != "https") || base.Host == "" || base.User != nil {
			return nil, fmt.Errorf("openai: model %s: endpoint %d: field base_url must look like https://host/v1, with no user or password in it", c.Model, i+1)
		}
		if i == 0 && c.Family == "" {
			client.config.Family = base.Host + strings.TrimRight(base.Path, "/")
		}
		keys, err := readKeys(e.KeyEnv)
		if err != nil {
			return nil, fmt.Errorf("openai: model %s: endpoint %s: %w", c.Model, base.Host, err)
		}
		for _, key := range keys {
			gc := goopenai.DefaultConfig(key)
			gc.BaseURL = strings.TrimRight(e.BaseURL, "/")
			gc.HTTPClient = doer
			client.secret.add(key)
			client.routes = append(client.routes, route{goopenai.NewClientWithConfig(gc), gc.BaseURL, key,
				c.MaxCompletionTokens || base.Hostname() == "api.openai.com"})
		}
	}
	client.id = "openai:" + client.config.Family + "/" + c.Model
	if c.NoTemperature { // the same request gets other replies than with a temperature sent
		client.id += "?temperature=default"
	}
	client.turns = newRotation(len(client.routes), c.Cooldown)
	return client, nil
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

// newTransport keeps enough connections open for many calls at one time; the standard library's two a host would open
// and close one for nearly every call.
func newTransport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = 128
	t.MaxIdleConns = 256
	return t
}

// Model is the configured model's name.
func (c *Client) Model() string { return c.config.Model }

// ID is "openai:", the family, "/" and the model, and says if the temperature is left to the endpoint.
func (c *Client) ID() string { return c.id }

// String returns the ID. With GoString it keeps keys out of whatever prints a Client.
func (c *Client) String() string { return c.id }

// GoString returns the ID.
func (c *Client) GoString() string { return c.id }
