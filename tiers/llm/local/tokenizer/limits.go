package tokenizer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/nikolalohinski/gonja/v2/builtins"
	"github.com/nikolalohinski/gonja/v2/config"
	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/parser"
	"github.com/nikolalohinski/gonja/v2/tokens"
)

// A chat template is a program from a file that anybody may have made, and the engine that runs it can be neither
// interrupted nor limited. So the language is cut to what chat templates need, without operators and functions that make
// much of little, and each turn of a loop and each call of a macro counts its steps. Whether it is cancelled is looked up there, before each
// condition and tag, and in filters: what one expression can do between is bounded by its operators and the size of values.
const (
	maxSource  = 64 << 10  // bytes of a template
	maxOutputs = 500       // {{ … }} in a template
	maxNesting = 100       // brackets in brackets, and calls of macros in macros
	maxSteps   = 100_000   // turns of loops and calls of macros in one rendering
	maxJoins   = 32        // +, ~ and slices in one tag or output, each of which copies what is left of it
	maxCalls   = 200       // brackets, filters and "in" in one tag or output
	maxMethods = 6         // calls of methods in one tag or output: the engine evaluates what stands before each of them twice
	maxSelf    = 256 << 10 // bytes of a string whose method is called
	maxValue   = 1 << 20   // bytes of a value, and of the prompt beyond four times the messages
	entrySize  = 64        // bytes that an entry of a list counts as
)

// ErrTemplateLimit is the cause of errors for a chat template that takes too many steps or too much memory.
var ErrTemplateLimit = errors.New("the template goes beyond the limits of a chat template")

// render is one rendering.
type render struct {
	ctx          context.Context
	steps, depth int
	limit        int // of a value and of the prompt, see size
	// stopped is why the rendering stops; the engine passes on the text of errors only.
	stopped error
}

// stop notes the first reason to stop.
func (r *render) stop(err error) error {
	if r.stopped == nil {
		r.stopped = err
	}
	return err
}

// beyond is stop for a limit.
func (r *render) beyond(format string, args ...any) error {
	return r.stop(fmt.Errorf("%w: %s", ErrTemplateLimit, fmt.Sprintf(format, args...)))
}

// renderKey is the name of the *render in the context of a template, which no template can spell.
const renderKey = "budgetmem render"

func renderOf(c *exec.Context) (*render, error) {
	if v, ok := c.Get(renderKey); ok {
		if r, ok := v.(*render); ok {
			return r, nil
		}
	}
	return nil, errors.New("the template is not being rendered") // gonja evaluates nothing before
}

// step counts one step. out is the output so far.
func (r *render) step(out any) error {
	if err := r.ctx.Err(); err != nil {
		return r.stop(err)
	}
	if r.steps++; r.steps > maxSteps {
		return r.beyond("more than %d steps", maxSteps)
	}
	if written, ok := out.(interface{ Len() int }); ok && written.Len() > r.limit {
		return r.beyond("more than %d bytes written", r.limit)
	}
	return nil
}

// alive says whether the rendering may go on.
func (r *render) alive() error {
	if err := r.ctx.Err(); err != nil {
		return r.stop(err)
	}
	return r.stopped
}

// keep checks a value that is to be kept.
func (r *render) keep(v any) error {
	if size(v, r.limit, 0) > r.limit {
		return r.beyond("a value of more than %d bytes, with %d for each entry of a list", r.limit, entrySize)
	}
	return nil
}

// size counts bytes of strings and entrySize for entries of lists, with what they hold, up to a little over limit.
func size(v any, limit, depth int) int {
	if depth > maxNesting {
		return limit + 1
	}
	if value, ok := v.(*exec.Value); ok {
		v = value.Interface()
	}
	x := reflect.ValueOf(v)
	for x.Kind() == reflect.Pointer || x.Kind() == reflect.Interface {
		if x.IsNil() {
			return 1
		}
		x = x.Elem()
	}
	n := 1
	switch x.Kind() {
	case reflect.String:
		return 1 + x.Len()
	case reflect.Slice, reflect.Array:
		for i := 0; i < x.Len() && n <= limit; i++ {
			n += entrySize + size(x.Index(i).Interface(), limit-n, depth+1)
		}
	case reflect.Map:
		for it := x.MapRange(); n <= limit && it.Next(); {
			n += size(it.Key().Interface(), limit-n, depth+1) + size(it.Value().Interface(), limit-n, depth+1)
		}
	}
	return n
}

// limitedBuffer collects the prompt.
type limitedBuffer struct {
	bytes.Buffer
	render *render
}

func (b *limitedBuffer) Write(p []byte) (int, error) { return b.WriteString(string(p)) }

func (b *limitedBuffer) WriteString(s string) (int, error) {
	if b.Len()+len(s) > b.render.limit {
		return 0, b.render.beyond("a prompt of more than %d bytes", b.render.limit)
	}
	if err := b.render.ctx.Err(); err != nil {
		return 0, b.render.stop(err)
	}
	return b.Buffer.WriteString(s)
}

// checkSource refuses templates that are too large or use operators that can blow up their output, and puts a step into every loop.
func checkSource(source string, settings *config.Config) (string, error) {
	if len(source) > maxSource {
		return "", fmt.Errorf("%w: %d bytes of template, more than %d", ErrTemplateLimit, len(source), maxSource)
	}
	source = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(source) // as the lexer does, for its positions
	var out strings.Builder
	copied, outputs, nesting := 0, 0, 0
	joins, calls, methods := 0, 0, 0 // in a tag or an output
	before, last := tokens.EOF, tokens.EOF
	loop, opened := false, false
	for stream := tokens.LexAll(source, settings); ; {
		t := stream.Current()
		if t == nil || t.Type == tokens.EOF || stream.End() {
			break
		}
		switch t.Type {
		case tokens.BlockBegin, tokens.VariableBegin:
			joins, calls, methods = 0, 0, 0
		case tokens.Addition, tokens.Tilde, tokens.Colon:
			joins++
		case tokens.LeftParenthesis, tokens.LeftBracket, tokens.Pipe, tokens.In:
			calls++
			if t.Type == tokens.LeftParenthesis && last == tokens.Name && before == tokens.Dot {
				methods++
			}
		}
		if t.Type != tokens.Whitespace {
			before, last = last, t.Type
		}
		if joins > maxJoins || calls > maxCalls || methods > maxMethods {
			return "", fmt.Errorf("%w: line %d has more than %d of +, ~ and :, %d of brackets, filters and in, or %d methods in one expression", ErrTemplateLimit, t.Line, maxJoins, maxCalls, maxMethods)
		}
		switch t.Type {
		case tokens.Multiply, tokens.Power:
			return "", fmt.Errorf("line %d of the template uses the operator %s, which is not supported", t.Line, t.Val)
		case tokens.VariableBegin:
			if outputs++; outputs > maxOutputs {
				return "", fmt.Errorf("%w: more than %d outputs", ErrTemplateLimit, maxOutputs)
			}
		case tokens.LeftParenthesis, tokens.LeftBracket, tokens.LeftBrace:
			if nesting++; nesting > maxNesting {
				return "", fmt.Errorf("%w: line %d has more than %d brackets in brackets", ErrTemplateLimit, t.Line, maxNesting)
			}
		case tokens.RightParenthesis, tokens.RightBracket, tokens.RightBrace:
			nesting--
		case tokens.BlockEnd:
			if loop {
				end := t.Pos + len(t.Val)
				out.WriteString(source[copied:end])
				copied = end
				if strings.HasPrefix(t.Val, "-") {
					out.WriteString("{% step -%}")
				} else {
					out.WriteString("{% step %}")
				}
			}
			loop = false
		case tokens.Name:
			if loop && t.Val == "recursive" { // its depth cannot be bounded
				return "", fmt.Errorf("line %d of the template has a recursive loop, which is not supported", t.Line)
			}
			loop = loop || opened && t.Val == "for"
		}
		opened = t.Type == tokens.BlockBegin || opened && t.Type == tokens.Whitespace
		stream.Next()
	}
	out.WriteString(source[copied:])
	return out.String(), nil
}

// environment is the part of Jinja that chat templates use.
func environment() (*exec.Environment, error) {
	var missing error
	filters := map[string]exec.FilterFunction{"tojson": toJSON}
	for _, name := range []string{"abs", "attr", "capitalize", "count", "d", "default", "dictsort", "e", "escape", "first", "float", "int",
		"items", "last", "length", "list", "lower", "map", "max", "min", "reject", "rejectattr", "reverse", "round", "safe", "select",
		"selectattr", "sort", "string", "sum", "title", "trim", "truncate", "unique", "upper"} {
		filters[name], _ = builtins.Filters.Get(name)
	}
	for name, many := range map[string]func(in *exec.Value, args *exec.VarArgs) int{"join": joined, "replace": replaced, "indent": indented} {
		own, _ := builtins.Filters.Get(name)
		filters[name] = func(e *exec.Evaluator, in *exec.Value, args *exec.VarArgs) *exec.Value {
			if r, err := renderOf(e.Environment.Context); err != nil {
				return exec.AsValue(err)
			} else if many(in, args) > r.limit {
				return exec.AsValue(r.beyond("%s makes more than %d bytes", name, r.limit))
			}
			return own(e, in, args)
		}
	}
	for name, f := range filters {
		if f != nil && !slices.Contains(cheapFilters, name) {
			filters[name] = bounded(f)
		}
	}
	filters[aliveFilter] = whileAlive
	tags := map[string]parser.ControlStructureParser{"set": parseSet, "macro": parseMacro, "step": parseStep}
	for _, name := range []string{"do", "for", "if", "with"} {
		own, there := builtins.ControlStructures.Get(name)
		if tags[name] = own; there {
			tags[name] = parseWatched(own)
		}
	}
	for _, name := range []string{"break", "continue", "raw"} {
		tags[name], _ = builtins.ControlStructures.Get(name)
	}
	for name, f := range filters {
		if f == nil {
			missing = errors.Join(missing, fmt.Errorf("the template engine has no filter %s", name))
		}
	}
	for name, f := range tags {
		if f == nil {
			missing = errors.Join(missing, fmt.Errorf("the template engine has no tag %s", name))
		}
	}
	methods := builtins.Methods
	methods.Str = exec.NewMethodSet(shortOnly(only(methods.Str, "capitalize", "count", "endswith", "find", "isalpha", "isdigit", "islower", "isspace", "isupper",
		"lower", "lstrip", "partition", "removeprefix", "removesuffix", "rfind", "rpartition", "rsplit", "rstrip", "split", "splitlines",
		"startswith", "strip", "title", "upper")))
	methods.List = exec.NewMethodSet(only(methods.List, "reverse", "copy"))
	methods.Dict = exec.NewMethodSet(only(methods.Dict, "keys", "values", "items", "get", "copy"))
	globals := exec.EmptyContext()
	for _, name := range []string{"dict", "namespace"} {
		if f, ok := builtins.GlobalFunctions.Get(name); ok {
			globals.Set(name, f)
		}
	}
	return &exec.Environment{
		Context: globals.Update(builtins.GlobalVariables).Update(chatFunctions()),
		Filters: exec.NewFilterSet(filters), Tests: builtins.Tests, ControlStructures: exec.NewControlStructureSet(tags), Methods: methods,
	}, missing
}

// cheapFilters make no more than they are given, and do not look through it.
var cheapFilters = []string{"abs", "attr", "count", "d", "default", "first", "float", "int", "last", "length", "round", "safe"}

// bounded bounds what a filter is given and what it makes: tojson of tojson doubles the escapes each time.
func bounded(f exec.FilterFunction) exec.FilterFunction {
	return func(e *exec.Evaluator, in *exec.Value, args *exec.VarArgs) *exec.Value {
		r, err := renderOf(e.Environment.Context)
		if err == nil {
			err = r.alive()
		}
		if err == nil && !in.IsError() {
			err = r.keep(in)
		}
		if err != nil {
			return exec.AsValue(err)
		}
		out := f(e, in, args)
		if !out.IsError() {
			if err := r.keep(out); err != nil {
				return exec.AsValue(err)
			}
		}
		return out
	}
}

func only[T any](set *exec.MethodSet[T], names ...string) map[string]exec.Method[T] {
	out := map[string]exec.Method[T]{}
	for _, name := range names {
		if m, ok := set.Get(name); ok {
			out[name] = m
		}
	}
	return out
}

// shortOnly refuses methods of long texts.
func shortOnly(methods map[string]exec.Method[string]) map[string]exec.Method[string] {
	for name, method := range methods {
		methods[name] = func(self string, value *exec.Value, args *exec.VarArgs) (any, error) {
			if len(self) > maxSelf {
				return nil, fmt.Errorf("%w: %s of a text of %d bytes, more than %d", ErrTemplateLimit, name, len(self), maxSelf)
			}
			return method(self, value, args)
		}
	}
	return methods
}

// joined, replaced and indented bound the bytes that a filter makes.
func joined(in *exec.Value, args *exec.VarArgs) int {
	n := size(in, maxValue<<4, 0)
	return n * (1 + longest(args))
}

func replaced(in *exec.Value, args *exec.VarArgs) int {
	return (1 + len(in.String())) * (1 + longest(args))
}

func indented(in *exec.Value, args *exec.VarArgs) int {
	width := 4
	for _, a := range args.Args {
		if a.IsInteger() {
			width = max(width, a.Integer())
		}
	}
	for _, a := range args.KwArgs {
		if a.IsInteger() {
			width = max(width, a.Integer())
		}
	}
	if width > maxNesting {
		return maxValue << 10
	}
	return len(in.String()) + width*(1+strings.Count(in.String(), "\n"))
}

// longest is the length of the longest argument.
func longest(args *exec.VarArgs) int {
	n := 0
	for _, a := range args.Args {
		n = max(n, len(a.String()))
	}
	for _, a := range args.KwArgs {
		n = max(n, len(a.String()))
	}
	return n
}

// rangeOf is Jinja's range; every number is a step.
func rangeOf(e *exec.Evaluator, args *exec.VarArgs) ([]any, error) {
	start, stop, by := 0, 0, 1
	for _, a := range args.Args {
		if !a.IsInteger() {
			return nil, errors.New("range wants integers")
		}
	}
	switch at := args.Args; len(at) {
	case 1:
		stop = at[0].Integer()
	case 2:
		start, stop = at[0].Integer(), at[1].Integer()
	case 3:
		start, stop, by = at[0].Integer(), at[1].Integer(), at[2].Integer()
	default:
		return nil, errors.New("range wants one to three integers")
	}
	if by == 0 {
		return nil, errors.New("the step of range must not be 0")
	}
	r, err := renderOf(e.Environment.Context)
	if err != nil {
		return nil, err
	}
	out := []any{}
	for i := start; by > 0 && i < stop || by < 0 && i > stop; i += by {
		if err := r.step(nil); err != nil {
			return nil, err
		}
		out = append(out, i)
	}
	return out, nil
}
