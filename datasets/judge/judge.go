// Package judge lets a language model decide whether answers are right, in the three forms that the literature reports:
// the BudgetMem paper's 0, 0.5 or 1, LongMemEval's yes or no by type of question, and mem0's correct or wrong. The
// prompts are our own, so numbers compare with published ones in kind and not to the digit; Hash identifies them.
package judge

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/template"

	"github.com/budgetmem/budgetmem/internal/suggest"
	"github.com/budgetmem/budgetmem/tiers/llm"
)

// The judges' names.
const (
	Paper       = "paper"
	LongMemEval = "longmemeval"
	Mem0        = "mem0"
)

// ErrUnknown is wrapped when no judge has the name asked for.
var ErrUnknown = errors.New("unknown judge")

// Answer is an answer to be judged.
type Answer struct {
	Question string
	// Category is the data set's own; only LongMemEval's judge reads it.
	Category string
	// Abstention says that the question has no answer in the history and Gold says why; only LongMemEval's judge reads it.
	Abstention bool
	// Gold holds the accepted answers.
	Gold []string
	// Prediction is the answer to judge.
	Prediction string
}

// Verdict is what a judge said of an answer.
type Verdict struct {
	// Score is 0, 0.5 or 1 (Paper), else 0 or 1. It means nothing unless Readable.
	Score float64
	// Readable is false when no score could be read from the reply. Such verdicts are counted apart: they are no zeros.
	Readable bool
	// Explanation is the judge's reason, "" if it gave none.
	Explanation string
	// Reply is what the model wrote, and Usage what that consumed, on error too.
	Reply string
	Usage llm.Usage
}

// Judge rates answers with a model. It is safe for concurrent use.
type Judge struct {
	kind
	client llm.Client
}

// kind is all that differs between the judges.
type kind struct {
	name string
	// template names the prompt for an answer, without its extension.
	template func(Answer) string
	// json says that the reply is to be a JSON object.
	json bool
	// read finds the verdict in a reply.
	read func(reply string) (score float64, explanation string, ok bool)
}

var kinds = []kind{
	{Paper, func(Answer) string { return Paper }, true, readScore},
	{LongMemEval, longMemEvalTemplate, false, readYesNo},
	{Mem0, func(Answer) string { return Mem0 }, true, readLabel},
}

// longMemEvalTemplate chooses among the five prompts. Types that LongMemEval does not have get the plain one.
func longMemEvalTemplate(a Answer) string {
	switch {
	case a.Abstention:
		return "longmemeval_abstention"
	case a.Category == "temporal-reasoning":
		return "longmemeval_temporal"
	case a.Category == "knowledge-update":
		return "longmemeval_update"
	case a.Category == "single-session-preference":
		return "longmemeval_preference"
	}
	return "longmemeval_plain"
}

// Names lists the judges that New knows.
func Names() []string {
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = k.name
	}
	return names
}

// Check returns an ErrUnknown with the nearest right name if there is no judge of that name.
func Check(name string) error {
	if slices.Contains(Names(), name) {
		return nil
	}
	return fmt.Errorf("%w %q; did you mean %q? The judges are %s", ErrUnknown, name, suggest.Name(name, Names()), strings.Join(Names(), ", "))
}

// New returns the judge of that name, which asks client. The error is an ErrUnknown.
func New(name string, client llm.Client) (*Judge, error) {
	if err := Check(name); err != nil {
		return nil, err
	}
	i := slices.Index(Names(), name)
	return &Judge{kinds[i], client}, nil
}

// Name is one of Names.
func (j *Judge) Name() string { return j.name }

// Client is the model that the judge asks.
func (j *Judge) Client() llm.Client { return j.client }

// Judge asks the model. An unreadable reply is a Verdict that is not Readable; the error means that there was no reply.
func (j *Judge) Judge(ctx context.Context, a Answer) (Verdict, error) {
	text, err := prompt(j.template(a), a)
	if err != nil {
		return Verdict{}, fmt.Errorf("judge %s: %w", j.name, err)
	}
	resp, err := j.client.Chat(ctx, llm.Request{Messages: []llm.Message{{Role: llm.User, Content: text}}, JSON: j.json})
	v := Verdict{Reply: resp.Text, Usage: resp.Usage}
	if err != nil {
		return v, fmt.Errorf("judge %s: asking %s: %w", j.name, j.client.Model(), err)
	}
	v.Score, v.Explanation, v.Readable = j.read(resp.Text)
	return v, nil
}

//go:embed prompts/*.tmpl
var promptFiles embed.FS

var prompts = template.Must(template.New("").ParseFS(promptFiles, "prompts/*.tmpl"))

// Hash identifies the judge's prompts: 12 hexadecimal digits of the SHA-256 over their names and texts. A run records it.
func (j *Judge) Hash() string {
	h := sha256.New()
	entries, err := promptFiles.ReadDir("prompts") // sorted
	if err != nil {
		panic(err) // an embedded folder cannot be missing
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), j.name) {
			continue
		}
		text, err := promptFiles.ReadFile("prompts/" + e.Name())
		if err != nil {
			panic(err)
		}
		fmt.Fprintf(h, "%s\x00%d\x00%s", e.Name(), len(text), text)
	}
	return hex.EncodeToString(h.Sum(nil))[:12]
}

// prompt fills a template. Question, gold answer and prediction come as JSON strings: one line each, from which no text can
// break out, and from which nothing is lost.
func prompt(name string, a Answer) (string, error) {
	gold := quote(a.Gold)
	if len(a.Gold) == 1 {
		gold = quote(a.Gold[0])
	}
	var b strings.Builder
	err := prompts.ExecuteTemplate(&b, name+".tmpl", map[string]string{"Question": quote(a.Question), "Gold": gold, "Prediction": quote(a.Prediction)})
	if err != nil {
		return "", fmt.Errorf("prompt %q: %w", name, err)
	}
	return strings.TrimSpace(b.String()), nil
}

// quote writes a text, or a list of them, as JSON. The sign that tags and the marks of chat templates begin with is
// written as an escape.
func quote(v any) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // which would write & and > as escapes too and make names such as R&B hard to read
	if err := enc.Encode(v); err != nil {
		panic(err) // texts and lists of them can be encoded
	}
	return strings.ReplaceAll(strings.TrimSuffix(b.String(), "\n"), "<", `\u003c`)
}
