package tokenizer

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/tiers/llm"
)

// Templates of anybody's files: each is refused within a second or so, and in little memory.
func TestHostileTemplates(t *testing.T) {
	for name, c := range map[string]struct{ source, want string }{
		"nested loops":           {"{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}", "steps"},
		"loops, trimmed":         {"{%- for i in range(90000) -%} {%- for j in messages -%} {%- for j in messages -%}x{%- endfor -%}{%- endfor -%} {%- endfor -%}", "steps"},
		"long range":             {"{{ range(10000000000)|length }}", "steps"},
		"including itself":       {"{% include '/chat' %}", "include"},
		"importing":              {"{% import '/chat' as c %}", "import"},
		"recursion":              {"{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}", "deep"},
		"recursion by two":       {"{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}{{ a() }}", ""},
		"macro that doubles":     {"{% macro a(x) %}{{ a(x ~ x) }}{% endmacro %}{{ a('x') }}", ""},
		"wide":                   {"{{ 'x'|center(30000000000) }}", "center"},
		"repeated":               {"{{ 'ab '*20000000000 }}", "operator *"},
		"power":                  {"{{ 9**999999999 }}", "operator **"},
		"doubling":               {"{% set ns = namespace(x='xxxxxxxx') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}", "a value"},
		"doubling a list":        {"{% set ns = namespace(x=[1]) %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}", "a value"},
		"doubling by nesting":    {"{% set ns = namespace(x=[1]) %}{% for i in range(99) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}", "a value"},
		"replacing":              {"{% set x = '" + strings.Repeat("a", 9000) + "' %}{% set y = x|replace('a', x) %}{{ y|replace('a', x) }}", "replace"},
		"replacing by a method":  {"{{ 'aaa'.replace('a', 'bbb') }}", ""},
		"indenting":              {"{{ 'x\n'|indent(10000000000) }}", "indent"},
		"justified by a method":  {"{{ 'x'.ljust(10000000000) }}", ""},
		"formatted by a method":  {"{{ '{:>10000000000}'.format('x') }}", ""},
		"filler text":            {"{{ lipsum(n=100000000) }}", ""},
		"written in a macro":     {"{% macro a() %}{% for i in range(9999) %}{{ messages[0].content }}" + strings.Repeat("x", 5000) + "{% endfor %}{% endmacro %}{{ a() }}", "bytes"},
		"written in a set":       {"{% set a %}{% for i in range(9999) %}" + strings.Repeat("x", 5000) + "{% endfor %}{% endset %}", "bytes"},
		"long prompt":            {"{% for i in range(9999) %}" + strings.Repeat("x", 5000) + "{% endfor %}", "bytes"},
		"a recursive loop":       {"{% for m in messages recursive %}{{ loop([m]) }}{% endfor %}", "recursive"},
		"brackets":               {"{{ " + strings.Repeat("(", 20000) + "1" + strings.Repeat(")", 20000) + " }}", "brackets"},
		"long source":            {strings.Repeat("x", 1<<20), "bytes of template"},
		"long, with a mistake":   {strings.Repeat("x", 60000) + "{% for %}", ""},
		"escapes of escapes":     {"{{ '\"'" + strings.Repeat("|tojson", 60) + " }}", "a value"},
		"a long sum":             {"{% set x = 'a' %}{% if " + strings.Repeat("x ~ ", 4000) + "x %}{% endif %}", "of +, ~ and :"},
		"a long sum of lists":    {"{% set x = ['a'] %}{% if " + strings.Repeat("x + ", 4000) + "x %}{% endif %}", "of +, ~ and :"},
		"a long chain":           {"{{ 'a'" + strings.Repeat("|upper", 4000) + " }}", "filters"},
		"a chain of methods":     {"{{ 'a'" + strings.Repeat(" .upper ()", 40) + " }}", "methods"},
		"searches":               {"{{ 'a'" + strings.Repeat(" in 'a'", 4000) + " }}", "of brackets"},
		"a list of one large":    {large + "{{ [" + strings.Repeat("x, ", 9000) + "]|map('upper')|length }}", "a value"},
		"a tag that is not here": {"{% generation %}x{% endgeneration %}", "generation"},
		"panic of the engine":    {"{{ messages[10**9] }}", ""},
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			tmpl, err := newChatTemplate(c.source, "<s>", "</s>")
			if err == nil {
				_, err = tmpl.Render(t.Context(), []llm.Message{{Role: llm.User, Content: "hi"}, {Role: llm.Assistant, Content: "hello"}}, true)
			}
			runtime.ReadMemStats(&after)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%.300v, want %q", err, c.want)
			}
			if err != nil && len(err.Error()) > 2000 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("took %v", took)
			}
			if grown := int64(after.Sys) - int64(before.Sys); grown > 512<<20 {
				t.Errorf("took %d MB", grown>>20)
			}
		})
	}
}

// large and half begin a template whose x has half a megabyte, or half of that.
var (
	half  = "{% set x = 'a' %}" + strings.Repeat("{% set x = x ~ x %}", 18)
	large = half + "{% set x = x ~ x %}"
)

// Whatever fits into the limits of one expression ends soon after its context, and takes little memory.
func TestSlowTemplatesAreCancelled(t *testing.T) {
	sum := strings.Repeat("x ~ ", maxJoins) + "x"
	lists := "{% set l = ['a'] %}" + strings.Repeat("{% set l = l + l %}", 13)
	listSum := strings.Repeat("l + ", maxJoins) + "l"
	for name, source := range map[string]string{
		"conditions":       large + strings.Repeat("{% if not ("+sum+") %}{% endif %}", 350),
		"other conditions": large + "{% if false %}" + strings.Repeat("{% elif not ("+sum+") %}", 350) + "{% endif %}",
		"loop filters":     large + "{% for i in range(90000) if not (" + sum + ") %}{% endfor %}",
		"sums of lists":    lists + strings.Repeat("{% if not ("+listSum+") %}{% endif %}", 350),
		"do":               large + strings.Repeat("{% do ("+sum+") %}", 350),
		"with":             large + strings.Repeat("{% with a = "+sum+" %}{% endwith %}", 350),
		"filters":          large + strings.Repeat("{% if not (x"+strings.Repeat("|upper|lower", maxCalls/2-2)+") %}{% endif %}", 40),
		"methods":          half + strings.Repeat("{% if not (x"+strings.Repeat(".title()", maxMethods)+") %}{% endif %}", 40),
		"splits":           half + strings.Repeat("{% if not (x.split('a')[0]"+strings.Repeat(".upper()", maxMethods-1)+") %}{% endif %}", 40),
		"searches":         large + "{% set y = x ~ 'b' %}" + strings.Repeat("{% if "+strings.Repeat("(y in x) or ", maxCalls/2-2)+" false %}{% endif %}", 40),
		"reversals":        large + strings.Repeat("{% if not (x"+strings.Repeat("[::-1]", maxJoins/2)+") %}{% endif %}", 40),
	} {
		t.Run(name, func(t *testing.T) {
			tmpl, err := newChatTemplate(source, "", "")
			if err != nil {
				t.Fatal(err)
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			start := time.Now()
			_, err = tmpl.Render(ctx, []llm.Message{{Role: llm.User, Content: "hi"}}, true)
			took := time.Since(start)
			runtime.ReadMemStats(&after)
			if err != nil && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v", err)
			}
			t.Logf("%v, %v", took.Round(time.Millisecond), err != nil)
			if took > 4*time.Second { // a second, on a machine with other work
				t.Errorf("took %v", took)
			}
			if grown := int64(after.Sys) - int64(before.Sys); grown > 512<<20 {
				t.Errorf("took %d MB", grown>>20)
			}
		})
	}
}

// A rendering ends with its context.
func TestRenderIsCancelled(t *testing.T) {
	tmpl, err := newChatTemplate("{% for i in range(90000) %}{% for m in messages %}x{% endfor %}{% endfor %}", "", "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := tmpl.Render(ctx, []llm.Message{{Role: llm.User, Content: "hi"}}, true); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// Long chats stay within the limits.
func TestLongChat(t *testing.T) {
	messages := make([]llm.Message, 4000)
	for i := range messages {
		messages[i] = llm.Message{Role: []llm.Role{llm.User, llm.Assistant}[i%2], Content: strings.Repeat("some words ", 20)}
	}
	for _, model := range modelNames {
		if text, err := load(t, model).Template().Render(t.Context(), messages, true); err != nil || len(text) < 4000*220 {
			t.Errorf("%s: %d bytes, %v", model, len(text), err)
		}
	}
}

func FuzzTemplate(f *testing.F) {
	for _, s := range []string{"{% for m in messages %}{{ m.role }}{% endfor %}", "{% set x = 1 %}{{ x }}", "{% macro a(x) %}{{ x }}{% endmacro %}{{ a(1) }}", "{%- if messages[0]['role'] == 'system' -%}x{%- endif -%}", "{# c #}{{ 'a'|upper|tojson }}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, source string) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if tmpl, err := newChatTemplate(source, "<s>", "</s>"); err == nil {
			_, _ = tmpl.Render(ctx, []llm.Message{{Role: llm.User, Content: "hi"}}, true)
		}
	})
}
