package tokenizer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/nikolalohinski/gonja/v2/config"
	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/loaders"

	"github.com/budgetmem/budgetmem/tiers/llm"
)

// ErrNoTemplate is what Render returns for a model without a chat template.
var ErrNoTemplate = errors.New(keyTemplate + " is missing: this model was not made for chats")

// maxError is how many bytes of an error of the engine are shown: it repeats the source, and every call.
const maxError = 1000

// ChatTemplate is the Jinja program that lays out a chat the way a model was trained to read it. It is safe for
// concurrent use.
type ChatTemplate struct {
	program  *exec.Template
	bos, eos string
}

// newChatTemplate compiles source under the settings of the Hugging Face libraries (trim_blocks and lstrip_blocks), with
// their functions raise_exception, strftime_now and tojson in Python's spelling. Tags, filters and operators that chat
// templates do not need are refused by name; see limits.go and tags.go.
func newChatTemplate(source, bos, eos string) (*ChatTemplate, error) {
	const name = "/chat"
	settings := config.New()
	settings.TrimBlocks = true
	settings.LeftStripBlocks = true
	source, err := checkSource(source, settings)
	if err != nil {
		return nil, err
	}
	loader, err := loaders.NewMemoryLoader(map[string]string{name: source})
	if err != nil {
		return nil, err
	}
	env, err := environment()
	if err != nil {
		return nil, err
	}
	program, err := exec.NewTemplate(name, settings, loader, env)
	if err != nil {
		if reason := errors.Unwrap(err); reason != nil {
			err = reason // the rest is the source
		}
		return nil, clip(err)
	}
	return &ChatTemplate{program: program, bos: bos, eos: eos}, nil
}

// Render lays out messages as the prompt of the model, to be encoded with Encode(prompt, true). With
// addGenerationPrompt it ends where the assistant's reply begins. A template that refuses the messages (no user turn,
// roles that do not alternate) gives an error with the template's own words. The error is ErrNoTemplate for a nil template,
// wraps ErrTemplateLimit if the template takes too many steps or too much memory, and is the context's if that ends.
func (t *ChatTemplate) Render(ctx context.Context, messages []llm.Message, addGenerationPrompt bool) (text string, err error) {
	if t == nil {
		return "", ErrNoTemplate
	}
	turns := make([]any, len(messages))
	state := &render{ctx: ctx, limit: maxValue}
	for i, m := range messages {
		state.limit += 4 * (len(m.Content) + len(m.Role) + 64)
		turns[i] = map[string]any{"role": string(m.Role), "content": m.Content}
	}
	out := &limitedBuffer{render: state}
	err = t.execute(out, exec.NewContext(map[string]any{
		renderKey:               state,
		"messages":              turns,
		"add_generation_prompt": addGenerationPrompt,
		"bos_token":             t.bos,
		"eos_token":             t.eos,
	}))
	if state.stopped != nil {
		err = state.stopped
	} else if err != nil {
		err = clip(err)
	}
	if err != nil {
		return "", fmt.Errorf("rendering %d messages with %s: %w", len(messages), keyTemplate, err)
	}
	return out.String(), nil
}

// clip shortens an error of the engine.
func clip(err error) error {
	text := err.Error()
	if len(text) <= maxError {
		return err
	}
	return errors.New(strings.ToValidUTF8(text[:maxError/2]+" … "+text[len(text)-maxError/2:], ""))
}

// execute runs the program. What the engine did not expect, it panics at.
func (t *ChatTemplate) execute(out io.Writer, data *exec.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the template engine failed: %v", p)
		}
	}()
	return t.program.Execute(out, data)
}

// chatFunctions are the functions that chat templates expect beside Jinja's own.
func chatFunctions() *exec.Context {
	return exec.NewContext(map[string]any{
		"raise_exception": func(_ *exec.Evaluator, args *exec.VarArgs) (string, error) {
			return "", errors.New(args.First().String())
		},
		"range": rangeOf,
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
