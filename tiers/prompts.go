package tiers

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"sync"
	"text/template"

	"github.com/budgetmem/budgetmem/internal/strictyaml"
	"github.com/budgetmem/budgetmem/tiers/llm"
)

//go:embed prompts/*.tmpl prompts/*.yaml
var promptFiles embed.FS

var promptTemplates = template.Must(template.New("").ParseFS(promptFiles, "prompts/*.tmpl"))

// PromptHash identifies all prompt templates and their examples: 12 hexadecimal digits of the SHA-256 over their names
// and texts. A run records it, and a change of a prompt changes it.
func PromptHash() string {
	h := sha256.New()
	names, err := fs.Glob(promptFiles, "prompts/*") // sorted
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

// The styles of the modules' prompts: ask directly, ask to think step by step first, or ask to plan, act and reflect.
const (
	Direct  = "direct"
	Steps   = "steps"
	Reflect = "reflect"
)

var promptStyles = []string{Direct, Steps, Reflect}

// The prompts of the answer: the one of its style with worked examples, or the short one that tuned models read.
const (
	Examples = "examples"
	Short    = "short"
)

var answerPrompts = []string{Examples, Short}

// promptData is what the templates may use. All text in it is escaped.
type promptData struct {
	Memory   string // the memory block; empty in the answer's prompts
	Summary  string // the summary module's text (answer only)
	Question string
	Date     string // when the question is asked; "" if unknown
	// The three lists (prose only).
	Entity, Temporal, Topic []string
	Count                   int    // how many items are asked for, or how many passages there are
	Style                   string // of a module's prompt; "" means Direct
}

// prompt fills a template, named without its extension.
func prompt(name string, d promptData) (string, error) {
	var b strings.Builder
	if err := promptTemplates.ExecuteTemplate(&b, name+".tmpl", d); err != nil {
		return "", fmt.Errorf("prompt %q: %w", name, err)
	}
	return strings.TrimSpace(b.String()), nil
}

// example is a worked question: what a template is filled with, and the reply that is wanted.
type example struct {
	Summary  string `yaml:"summary"`
	Date     string `yaml:"date"` // of the question, where the template has it
	Question string `yaml:"question"`
	Answer   string `yaml:"answer"`
}

const examplesEnd = ".examples.yaml"

// examples returns the worked examples of every template that has some, by its name: those in the file
// prompts/NAME.examples.yaml. They are read at the first answer and then kept.
var examples = sync.OnceValues(func() (map[string][]example, error) {
	files, err := fs.Glob(promptFiles, "prompts/*"+examplesEnd)
	if err != nil {
		return nil, err
	}
	all := make(map[string][]example, len(files))
	for _, file := range files {
		data, err := promptFiles.ReadFile(file)
		if err != nil {
			return nil, err
		}
		var list []example
		if err := strictyaml.Decode(data, &list); err != nil {
			return nil, fmt.Errorf("examples in %s: %w", file, err)
		}
		all[strings.TrimSuffix(path.Base(file), examplesEnd)] = list
	}
	return all, nil
})

// chat fills a template and puts its worked examples before it, each as a question and its reply. The examples are the
// same for every question, so a model that reuses prefixes computes them once.
func chat(name string, d promptData) ([]llm.Message, error) {
	worked, err := examples()
	if err != nil {
		return nil, err
	}
	var messages []llm.Message
	for _, e := range worked[name] {
		text, err := prompt(name, promptData{Summary: e.Summary, Date: e.Date, Question: e.Question})
		if err != nil {
			return nil, err
		}
		messages = append(messages, llm.Message{Role: llm.User, Content: text}, llm.Message{Role: llm.Assistant, Content: e.Answer})
	}
	text, err := prompt(name, d)
	if err != nil {
		return nil, err
	}
	return append(messages, llm.Message{Role: llm.User, Content: text}), nil
}
