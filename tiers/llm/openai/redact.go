package openai

import (
	"encoding/json"
	"net/url"
	"strings"
	"unicode"
)

// redactor removes keys from texts.
type redactor struct {
	forms []string
	// words are short keys that are plain words or numbers, as people use for local servers: a reply may contain them by
	// chance.
	words map[string]bool
}

// add remembers a key, and how it looks inside JSON and inside an address.
func (r *redactor) add(key string) {
	if key == "" {
		return
	}
	quoted, _ := json.Marshal(key)
	r.forms = append(r.forms, key, strings.Trim(string(quoted), `"`), url.QueryEscape(key))
	const tiny, short = 4, 16
	plain := func(is func(rune) bool) bool { return strings.IndexFunc(key, func(c rune) bool { return !is(c) }) < 0 }
	if len(key) < tiny || len(key) < short && (plain(unicode.IsLetter) || plain(unicode.IsDigit)) {
		if r.words == nil {
			r.words = map[string]bool{}
		}
		r.words[key] = true
	}
}

// clean returns text with every key replaced by "[key]".
func (r *redactor) clean(text string) string {
	for _, f := range r.forms {
		text = strings.ReplaceAll(text, f, "[key]")
	}
	return text
}

// cleanReply does the same for a model's reply, but leaves keys that are plain words.
func (r *redactor) cleanReply(text string) string {
	for _, f := range r.forms {
		if !r.words[f] {
			text = strings.ReplaceAll(text, f, "[key]")
		}
	}
	return text
}
