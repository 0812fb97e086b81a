package llm

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/budgetmem/budgetmem/internal/strictyaml"
	"github.com/budgetmem/budgetmem/internal/suggest"
)

// Settings are one model's entry of a model configuration. The zero value of a field leaves things as they are.
//
// MaxTokens and ReasoningTokens hold for every model; the rest is for models at endpoints.
type Settings struct {
	// MaxTokens is the output limit of every call in tokens, in place of the call's own (answers ask for 40).
	MaxTokens int `json:"max_tokens,omitempty" yaml:"max_tokens,omitempty"`
	// ReasoningTokens are allowed on top of a call's limit, for models that reason before they answer. Where it is 0,
	// a reply that was cut inside its reasoning gets a second try with 4096.
	ReasoningTokens int `json:"reasoning_tokens,omitempty" yaml:"reasoning_tokens,omitempty"`
	// ContextTokens is how many tokens prompt and reply may have together. A prompt that cannot fit is refused before it
	// is sent.
	ContextTokens int `json:"context_tokens,omitempty" yaml:"context_tokens,omitempty"`

	// ReasoningEffort is sent as reasoning_effort: "low", "medium", "high" or what else the endpoint knows.
	ReasoningEffort string `json:"reasoning_effort,omitempty" yaml:"reasoning_effort,omitempty"`
	// MaxCompletionTokens sends the reply's limit as max_completion_tokens, the newer name of max_tokens. Implied for
	// endpoints at api.openai.com.
	MaxCompletionTokens bool `json:"max_completion_tokens,omitempty" yaml:"max_completion_tokens,omitempty"`
	// NoTemperature leaves the temperature to the endpoint.
	NoTemperature bool `json:"no_temperature,omitempty" yaml:"no_temperature,omitempty"`
	// Parameters are further fields of the request, sent as they are. null leaves a field out. Their bytes count as prompt tokens in a
	// call's Bound; what would raise its bill in another way, such as a reply's limit, cannot be set.
	Parameters map[string]any `json:"parameters,omitempty" yaml:"parameters,omitempty"`
	// EmbedBatch is the most texts sent in one embedding call (default 128).
	EmbedBatch int `json:"embed_batch,omitempty" yaml:"embed_batch,omitempty"`
	// Headers are sent with every call. A value may name environment variables, as in "$MY_KEY" or "${MY_KEY}".
	Headers map[string]string `json:"headers,omitempty" yaml:"headers,omitempty"`
	// SessionHeader is the name of a header that carries the same value for all calls of a question, for routers that send these to
	// the same server by it, such as X-Session-Id.
	SessionHeader string `json:"session_header,omitempty" yaml:"session_header,omitempty"`
	// Query is added to the address of every call, such as api-version for Azure. Values may name environment variables too.
	Query map[string]string `json:"query,omitempty" yaml:"query,omitempty"`
	// KeyEnv names the environment variables with the keys of the model's own endpoint, for models given as NAME@URL.
	KeyEnv []string `json:"api_key_env,omitempty" yaml:"api_key_env,omitempty"`

	// Fallback names models that answer where all endpoints of this one fail, in order, each written as for --model or NAME@URL.
	Fallback []string `json:"fallback,omitempty" yaml:"fallback,omitempty"`

	// Family and Weights identify the model in the response cache beside its name: name them to keep the replies of
	// models apart that have the same name at different endpoints. Replies are found whatever the endpoint's address.
	Family  string `json:"family,omitempty" yaml:"family,omitempty"`
	Weights string `json:"weights,omitempty" yaml:"weights,omitempty"`
}

// apply returns the request with the model's output limits.
func (s Settings) apply(req Request) Request {
	if s.MaxTokens > 0 {
		req.MaxTokens = s.MaxTokens
	}
	if s.ReasoningTokens > 0 {
		req.MaxTokens = req.ReplyLimit() + s.ReasoningTokens
	}
	return req
}

// Plain returns the settings with what Parameters say of settings that have a field of their own in that field, so that one thing
// has one form, and the response cache one entry for it. Parameters go before fields.
func (s Settings) Plain() Settings {
	effort, isText := s.Parameters["reasoning_effort"].(string)
	temperature, given := s.Parameters["temperature"]
	if !isText && (!given || temperature != nil) {
		return s
	}
	s.Parameters = maps.Clone(s.Parameters)
	if isText {
		s.ReasoningEffort = effort
		delete(s.Parameters, "reasoning_effort")
	}
	if given && temperature == nil {
		s.NoTemperature = true
		delete(s.Parameters, "temperature")
	}
	return s
}

// maxSetting bounds numbers of tokens and texts.
const maxSetting = 100_000_000

// Check finds values that cannot be meant. The error names the field.
func (s Settings) Check() error {
	for name, n := range map[string]int{"max_tokens": s.MaxTokens, "reasoning_tokens": s.ReasoningTokens, "context_tokens": s.ContextTokens, "embed_batch": s.EmbedBatch} {
		if n < 0 || n > maxSetting {
			return fmt.Errorf("field %q is %d: must be between 0 and %d", name, n, maxSetting)
		}
	}
	for name, value := range s.Headers {
		if name == "" || strings.ContainsAny(name, " \t\r\n:") || strings.ContainsAny(value, "\r\n") {
			return fmt.Errorf("field \"headers\": %q is no header's name, or its value has more than one line", name)
		}
	}
	if strings.ContainsAny(s.SessionHeader, " \t\r\n:") || strings.EqualFold(s.SessionHeader, "Authorization") {
		return fmt.Errorf("field \"session_header\": %q is no name for it", s.SessionHeader)
	}
	if err := checkParameters(s.Parameters); err != nil {
		return fmt.Errorf("field \"parameters\": %w", err)
	}
	if _, err := json.Marshal(s.Parameters); err != nil {
		return fmt.Errorf("field \"parameters\": %w", err)
	}
	return nil
}

// over returns s with the fields that t sets replaced by t's. Maps are merged.
func (s Settings) over(t Settings) Settings {
	base, top := reflect.ValueOf(&s).Elem(), reflect.ValueOf(t)
	for i := range base.NumField() {
		if !top.Field(i).IsZero() && base.Field(i).Kind() != reflect.Map {
			base.Field(i).Set(top.Field(i))
		}
	}
	s.Parameters = merged(s.Parameters, t.Parameters)
	s.Headers = merged(s.Headers, t.Headers)
	s.Query = merged(s.Query, t.Query)
	return s
}

func merged[V any](a, b map[string]V) map[string]V {
	if len(a)+len(b) == 0 {
		return nil
	}
	out := maps.Clone(a)
	if out == nil {
		out = map[string]V{}
	}
	maps.Copy(out, b)
	return out
}

// Models is a model configuration: the Settings of models by name. The zero value has none. It never changes once made.
type Models struct {
	byName map[string]Settings // lower-case names; "*" is for all
	set    Settings            // over all of these
}

// LoadModels reads the configuration at path; see ParseModels. A file that cannot be read is an error too.
func LoadModels(path string) (Models, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Models{}, fmt.Errorf("read model settings: %w", err)
	}
	return ParseModels(path, data)
}

// ParseModels reads a model configuration in YAML:
//
//	models:
//	- model: "*"            # every model
//	  reasoning_tokens: 2000
//	- model: gpt-5-mini     # or NAME@URL, for one endpoint
//	  max_completion_tokens: true
//	  no_temperature: true
//	  reasoning_effort: low
//
// The fields are those of Settings. Errors name the file, and the entry and field or the line.
func ParseModels(file string, data []byte) (Models, error) {
	var doc struct {
		Models []struct {
			Model    string `yaml:"model"`
			Settings `yaml:",inline"`
		} `yaml:"models"`
	}
	if err := strictyaml.Decode(data, &doc); err != nil {
		return Models{}, fmt.Errorf("%s: %w", file, err)
	}
	if len(doc.Models) == 0 {
		return Models{}, fmt.Errorf("%s: no entry under \"models:\"", file)
	}
	out := Models{byName: map[string]Settings{}}
	for i, e := range doc.Models {
		at := fmt.Sprintf("%s: entry %d (%s)", file, i+1, e.Model)
		key := settingsKey(e.Model)
		if key == "" {
			return Models{}, fmt.Errorf("%s: field \"model\" is empty: name a model, or \"*\" for all", at)
		}
		if _, twice := out.byName[key]; twice {
			return Models{}, fmt.Errorf("%s: the model has an entry already", at)
		}
		if err := e.Settings.Check(); err != nil {
			return Models{}, fmt.Errorf("%s: %w", at, err)
		}
		out.byName[key] = e.Settings
	}
	return out, nil
}

// Set returns the configuration with one setting for all models, given as "field=value": the form of a command line. Fields
// with names and values in them take a dot, as in "headers.X-Title=notes" or "parameters.top_p=0.9". It goes before what the
// configuration's file says. An unknown field, or a value that it cannot take, is an error.
func (m Models) Set(assignment string) (Models, error) {
	name, value, ok := strings.Cut(assignment, "=")
	if !ok {
		return m, fmt.Errorf("%q: want field=value, such as reasoning_tokens=2000", assignment)
	}
	name = strings.TrimSpace(name)
	field, sub, nested := strings.Cut(name, ".")
	known := settingsFields()
	i, ok := known[field]
	if !ok {
		names := slices.Sorted(maps.Keys(known))
		return m, fmt.Errorf("%q: no such setting; did you mean %q? There are %s", assignment, suggest.Name(field, names), strings.Join(names, ", "))
	}
	var s Settings
	v := reflect.ValueOf(&s).Elem().Field(i)
	var err error
	switch {
	case v.Kind() == reflect.Map && (!nested || sub == ""):
		err = fmt.Errorf("want %s.NAME=value", field)
	case v.Kind() != reflect.Map && nested:
		err = fmt.Errorf("%s has no parts", field)
	case v.Kind() == reflect.Int:
		var n int64
		if n, err = strconv.ParseInt(strings.TrimSpace(value), 10, 64); err == nil {
			v.SetInt(n)
		} else {
			err = fmt.Errorf("%q is no whole number", value)
		}
	case v.Kind() == reflect.Bool:
		var b bool
		if b, err = strconv.ParseBool(strings.TrimSpace(value)); err == nil {
			v.SetBool(b)
		} else {
			err = fmt.Errorf("%q is neither true nor false", value)
		}
	case v.Kind() == reflect.String:
		v.SetString(value)
	case v.Kind() == reflect.Slice:
		v.Set(reflect.ValueOf(strings.Split(value, ",")))
	case field == "parameters":
		s.Parameters = map[string]any{sub: parameter(value)}
	default:
		v.Set(reflect.ValueOf(map[string]string{sub: value}))
	}
	if err == nil {
		err = s.Check()
	}
	if err != nil {
		return m, fmt.Errorf("%q: %w", assignment, err)
	}
	m.set = m.set.over(s)
	return m, nil
}

// parameter reads a value as JSON where it is that, else as a string.
func parameter(value string) any {
	var v any
	if err := json.Unmarshal([]byte(value), &v); err != nil {
		return value
	}
	return v
}

// settingsFields maps the fields' names to their indices.
func settingsFields() map[string]int {
	out := map[string]int{}
	t := reflect.TypeFor[Settings]()
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
		out[name] = i
	}
	return out
}

// For returns the settings of a model: those of "*", of its name, of NAME@endpoint, and those Set, each over the ones
// before. endpoint is the base URL, "" for a model that has none of its own.
func (m Models) For(model, endpoint string) Settings {
	s := m.byName["*"].over(m.byName[settingsKey(model)])
	if endpoint != "" {
		s = s.over(m.byName[settingsKey(model+"@"+endpoint)])
	}
	return s.over(m.set)
}

func settingsKey(model string) string { return strings.ToLower(strings.TrimSpace(model)) }

// AtMost bounds a reply's limit by the context that a prompt of at least n bytes leaves; ok is false if the prompt alone
// cannot fit.
func (s Settings) AtMost(limit, bytes int) (n int, ok bool) {
	if s.ContextTokens == 0 {
		return limit, true
	}
	if bytes/longestToken >= s.ContextTokens {
		return 0, false
	}
	const bytesPerToken = 4 // of English, and so the least room that is left
	left := s.ContextTokens - int(math.Ceil(float64(bytes)/bytesPerToken))
	return min(limit, max(left, 1)), true
}
