package llm

import (
	"regexp"
	"slices"
	"strings"
)

// SecretSetting is a field of Settings whose value may be a secret, with the entry of the model configuration that it is from.
type SecretSetting struct {
	Entry string // "*" for all models, the model's name, or "" for Set
	Field string // such as "headers.api-key"
}

// secretRE matches names of headers and query values that hold keys, and secretParameterRE those of parameters, where "token"
// alone means something else.
var (
	secretRE          = regexp.MustCompile(`(?i)key|token|secret|auth|passw|pwd|credential|cookie|signature|bearer|jwt|^sig$|^code$`)
	secretParameterRE = regexp.MustCompile(`(?i)(?:api|access|auth|secret|private|subscription)[_-]?(?:key|token)|secret|passw|credential|authorization`)
	schemeRE          = regexp.MustCompile(`(?i)^\s*(?:bearer|basic)\s`)
)

// MayBeSecret says whether a header or query value of that name and value may be a secret: one that names an environment variable, or
// whose name or form is that of a key.
func MayBeSecret(name, value string) bool {
	return strings.Contains(value, "$") || secretRE.MatchString(name) || schemeRE.MatchString(value)
}

// SharedSecrets lists the settings of a model at an endpoint that may be secrets, and whose entry holds for other endpoints too: all
// entries but that of NAME@endpoint. They are to be sent to one origin only. endpoint is as for For.
func (m Models) SharedSecrets(model, endpoint string) []SecretSetting {
	type layer struct {
		entry string
		own   bool
		s     Settings
	}
	layers := []layer{{"", false, m.set}, {"", true, Settings{}}, {model, false, m.byName[settingsKey(model)]}, {"*", false, m.byName["*"]}}
	if endpoint != "" {
		layers[1].s = m.byName[settingsKey(model+"@"+endpoint)]
	}
	var out []SecretSetting
	seen := map[string]bool{}
	for _, l := range layers { // the one that goes before the others first
		found := func(field string, secret bool) {
			if secret && !l.own && !seen[field] {
				out = append(out, SecretSetting{l.entry, field})
			}
			seen[field] = true
		}
		for name, value := range l.s.Headers {
			found("headers."+name, MayBeSecret(name, value))
		}
		for name, value := range l.s.Query {
			found("query."+name, MayBeSecret(name, value))
		}
		for name := range l.s.Parameters {
			found("parameters."+name, secretParameterRE.MatchString(name))
		}
		if len(l.s.KeyEnv) > 0 && endpoint != "" {
			found("api_key_env", true)
		}
	}
	slices.SortFunc(out, func(a, b SecretSetting) int { return strings.Compare(a.Field, b.Field) })
	return out
}
