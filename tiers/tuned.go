package tiers

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"text/template"

	"github.com/budgetmem/budgetmem/tiers/llm"
)

// The prompts of tuned models. They have no worked examples, since the weights have learned what these show. They are no
// part of PromptHash: an adapter carries the hash of the one that it was trained with.
//
//go:embed tuned/*.tmpl
var tunedFiles embed.FS

var tunedTemplates = template.Must(template.New("").ParseFS(tunedFiles, "tuned/*.tmpl"))

// NotesTemplate is the tuned prompt of notes, the question's date if it has one, and the question.
const NotesTemplate = "notes"

// TunedPrompt returns the prompt that a tuned model answers: a template by its name, filled. An unknown name is an error that
// lists the known ones.
func TunedPrompt(name, notes, question, date string) ([]llm.Message, error) {
	if _, err := TunedHash(name); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	data := promptData{Summary: escape(notes), Question: oneLine(question), Date: oneLine(date)}
	if err := tunedTemplates.ExecuteTemplate(&b, name+".tmpl", data); err != nil {
		return nil, fmt.Errorf("tuned prompt %q: %w", name, err)
	}
	return []llm.Message{{Role: llm.User, Content: strings.TrimSpace(b.String())}}, nil
}

// TunedHash identifies the text of a tuned prompt's template: its SHA-256 in hexadecimal digits. An unknown name is an error
// that lists the known ones.
func TunedHash(name string) (string, error) {
	data, err := tunedFiles.ReadFile(path.Join("tuned", name+".tmpl"))
	if err != nil {
		return "", unknown("tuned prompt", name, tunedNames())
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), nil
}

// ErrTemplate is wrapped by CheckTuned.
var ErrTemplate = errors.New("the model was tuned for a prompt that this version does not have")

// CheckTuned refuses a tuned model whose prompt's template has changed since, or is not here. The error wraps ErrTemplate.
func CheckTuned(c llm.Client) error {
	name, hash := llm.PromptTemplate(c)
	if name == "" {
		return nil
	}
	now, err := TunedHash(name)
	if err != nil {
		return fmt.Errorf("model %s: %w: %w", c.Model(), ErrTemplate, err)
	}
	if now != hash {
		return fmt.Errorf("model %s: %w: template %q has sha256 %.12s…, the model was trained with %.12s…: train it again", c.Model(), ErrTemplate, name, now, hash)
	}
	return nil
}

func tunedNames() []string {
	files, err := fs.Glob(tunedFiles, "tuned/*.tmpl")
	if err != nil {
		panic(err) // a malformed pattern
	}
	for i, f := range files {
		files[i] = strings.TrimSuffix(path.Base(f), ".tmpl")
	}
	return files
}
