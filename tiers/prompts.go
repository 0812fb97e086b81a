package tiers

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"strings"
	"text/template"
)

//go:embed prompts/*.tmpl
var promptFiles embed.FS

var promptTemplates = template.Must(template.New("").ParseFS(promptFiles, "prompts/*.tmpl"))

// PromptHash identifies all prompt templates: 12 hexadecimal digits of the SHA-256 over their names and texts. A run
// records it, and a change of a prompt changes it.
func PromptHash() string {
	h := sha256.New()
	names, err := fs.Glob(promptFiles, "prompts/*.tmpl") // sorted
	if err != nil {
		panic(err) // a malformed pattern
	}
	for _, name := range names {
		text, err := promptFiles.ReadFile(name)
		if err != nil {
			panic(err) // an embedded file cannot be missing
		}
		fmt.Fprintf(h, "%s\x00%d\x00%s", name, len(text), text)
	}
	return hex.EncodeToString(h.Sum(nil))[:12]
}

// promptData is what the templates may use. All text in it is escaped.
type promptData struct {
	Memory   string // the memory block; empty in the answer's prompts
	Summary  string // the summary module's text (answer only)
	Question string
	Date     string // when the question is asked; "" if unknown
	Count    int    // how many items are asked for, or how many passages there are
}

// prompt fills a template, named without its extension.
func prompt(name string, d promptData) (string, error) {
	var b strings.Builder
	if err := promptTemplates.ExecuteTemplate(&b, name+".tmpl", d); err != nil {
		return "", fmt.Errorf("prompt %q: %w", name, err)
	}
	return strings.TrimSpace(b.String()), nil
}
