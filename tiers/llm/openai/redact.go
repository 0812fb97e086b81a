package openai

import (
	"encoding/json"
	"net/url"
	"strings"
)

// redactor removes keys from texts.
type redactor struct{ forms []string }

// add remembers a key, and how it looks inside JSON and inside an address.
func (r *redactor) add(key string) {
	if key == "" {
		return
	}
	quoted, _ := json.Marshal(key)
	r.forms = append(r.forms, key, strings.Trim(string(quoted), `"`), url.QueryEscape(key))
}

// clean returns text with every key replaced by "[key]".
func (r *redactor) clean(text string) string {
	for _, f := range r.forms {
		text = strings.ReplaceAll(text, f, "[key]")
	}
	return text
}

// cleanReply does the same for a model's reply, but leaves alone what only looks like a short key: a reply may contain
// the word that somebody uses as the key of a local server.
func (r *redactor) cleanReply(text string) string {
	const realKey = 16
	for _, f := range r.forms {
		if len(f) >= realKey {
			text = strings.ReplaceAll(text, f, "[key]")
		}
	}
	return text
}
