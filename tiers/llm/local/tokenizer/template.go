package tokenizer

import (
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/nikolalohinski/gonja/v2/builtins"
	"github.com/nikolalohinski/gonja/v2/config"
	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/loaders"

	"github.com/budgetmem/budgetmem/tiers/llm"
)

// ErrNoTemplate is what Render returns for a model without a chat template.
var ErrNoTemplate = errors.New(keyTemplate + " is missing: this model was not made for chats")

// ChatTemplate is the Jinja program that lays out a chat the way a model was trained to read it. It is safe for
// concurrent use.
type ChatTemplate struct {
	program  *exec.Template
	bos, eos string
}

// newChatTemplate compiles source. It sees what chat templates of the Hugging Face libraries see (their settings
// trim_blocks and lstrip_blocks, raise_exception, strftime_now, tojson in Python's spelling), and no files.
func newChatTemplate(source, bos, eos string) (*ChatTemplate, error) {
	const name = "/chat"
	loader, err := loaders.NewMemoryLoader(map[string]string{name: source})
	if err != nil {
		return nil, err
	}
	settings := config.New()
	settings.TrimBlocks = true
	settings.LeftStripBlocks = true
	filters := exec.NewFilterSet(map[string]exec.FilterFunction{}).Update(builtins.Filters)
	if err := filters.Replace("tojson", toJSON); err != nil {
		return nil, err
	}
	program, err := exec.NewTemplate(name, settings, loader, &exec.Environment{
		Context:           exec.EmptyContext().Update(builtins.GlobalFunctions).Update(builtins.GlobalVariables).Update(chatFunctions()),
		Filters:           filters,
		Tests:             builtins.Tests,
		ControlStructures: builtins.ControlStructures,
		Methods:           builtins.Methods,
	})
	if err != nil {
		return nil, err
	}
	return &ChatTemplate{program: program, bos: bos, eos: eos}, nil
}

// Render lays out messages as the prompt of the model, to be encoded with Encode(prompt, true). With
// addGenerationPrompt it ends where the assistant's reply begins. A template that refuses the messages (no user turn,
// roles that do not alternate) gives an error with the template's own words.
func (t *ChatTemplate) Render(messages []llm.Message, addGenerationPrompt bool) (string, error) {
	if t == nil {
		return "", ErrNoTemplate
	}
	turns := make([]any, len(messages))
	for i, m := range messages {
		turns[i] = map[string]any{"role": string(m.Role), "content": m.Content}
	}
	text, err := t.program.ExecuteToString(exec.NewContext(map[string]any{
		"messages":              turns,
		"add_generation_prompt": addGenerationPrompt,
		"bos_token":             t.bos,
		"eos_token":             t.eos,
	}))
	if err != nil {
		return "", fmt.Errorf("rendering %d messages with %s: %w", len(messages), keyTemplate, err)
	}
	return text, nil
}

// chatFunctions are the functions that chat templates expect beside Jinja's own.
func chatFunctions() *exec.Context {
	return exec.NewContext(map[string]any{
		"raise_exception": func(_ *exec.Evaluator, args *exec.VarArgs) (string, error) {
			return "", errors.New(args.First().String())
		},
		"strftime_now": func(_ *exec.Evaluator, args *exec.VarArgs) (string, error) {
			return strftime(time.Now(), args.First().String())
		},
	})
}

// strftime formats t by the few directives that chat templates use.
func strftime(t time.Time, format string) (string, error) {
	layouts := map[byte]string{
		'Y': "2006", 'm': "01", 'd': "02", 'b': "Jan", 'B': "January", 'a': "Mon", 'A': "Monday",
		'H': "15", 'M': "04", 'S': "05", 'y': "06", '%': "%",
	}
	var out []byte
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 == len(format) {
			out = append(out, format[i])
			continue
		}
		i++
		layout, ok := layouts[format[i]]
		if !ok {
			return "", fmt.Errorf("strftime_now: unknown directive %%%c", format[i])
		}
		out = t.AppendFormat(out, layout)
	}
	return string(out), nil
}

// toJSON writes JSON as Python's json.dumps does with ensure_ascii=False: a blank after comma and colon, no escapes for
// HTML.
func toJSON(_ *exec.Evaluator, in *exec.Value, _ *exec.VarArgs) *exec.Value {
	if in.IsError() {
		return in
	}
	text, err := json.Marshal(in.ToGoSimpleType(false), json.Deterministic(true), jsontext.SpaceAfterComma(true), jsontext.SpaceAfterColon(true))
	if err != nil {
		return exec.AsValue(fmt.Errorf("tojson: %w", err))
	}
	return exec.AsSafeValue(string(text))
}
