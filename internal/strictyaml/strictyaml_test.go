package strictyaml

import (
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"testing"
)

type doc struct {
	Lists map[string][]struct {
		Name string `yaml:"name"`
	} `yaml:"lists"`
	Amount struct {
		Hour *float64 `yaml:"hour"`
		Day  *float64 `yaml:"day"`
	} `yaml:"amount"`
	Any map[string]any `yaml:"any"`
}

func TestDecode(t *testing.T) {
	for text, want := range map[string]string{
		"":                                   "{map[] {<nil> <nil>} map[]}",
		"# nothing\n":                        "{map[] {<nil> <nil>} map[]}",
		"lists:\n  a: [{name: x}]\n":         "{map[a:[{x}]] {<nil> <nil>} map[]}",
		"%YAML 1.2\n---\nany: {a: 1}\n...\n": "{map[] {<nil> <nil>} map[a:1]}",
		"---\nany: {\"1\": null, '2': ~, b: [~], c: \"\"}\n---\n": "{map[] {<nil> <nil>} map[1:<nil> 2:<nil> b:[<nil>] c:]}",
		"any: &a {x: 1}\nlists: {}\n":                             "{map[] {<nil> <nil>} map[x:1]}",
		"any:\n  a: &a {x: 1}\n  b: {<<: *a, y: 2}\n":             "{map[] {<nil> <nil>} map[a:map[x:1] b:map[x:1 y:2]]}",
	} {
		var d doc
		if err := Decode([]byte(text), &d); err != nil || fmt.Sprint(d) != want {
			t.Errorf("%q: %+v, %v; want %s", text, d, err, want)
		}
	}
	laughs := "any:\n  a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	for i := range 9 {
		laughs += fmt.Sprintf("  a%d: &a%d [%s*a%d]\n", i+1, i+1, strings.Repeat(fmt.Sprintf("*a%d, ", i), 9), i)
	}
	for name, c := range map[string][2]string{
		"unknown field":           {"lists:\n  a: [{nam: x}]\n", "nam"},
		"the line":                {"lists:\n  a: 3\n", "2 |"},
		"what the parser dies of": {"lists:\n  a: !000\n", "broken"},

		// Each of these was read as if the field were not there.
		"a decimal comma":          {"lists: {}\namount: {hour: 0,02, day: 0,10}\n", `[2:18] "02" is no name`},
		"one decimal comma":        {"amount: {hour: 0,02}\n", `"02" is no name`},
		"a decimal comma in block": {"amount:\n  hour: 0,02\n", "hour: 0,02"},
		"a number":                 {"amount: {hour: 1, 5: 5}\n", `"5" is no name`},
		"a truth":                  {"any: {true: 5}\n", `"true" is no name`},
		"no name":                  {"any: {null: 5}\n", `"null" is no name`},
		"a list as a name":         {"any: {[a]: 5}\n", "invalid key"},
		"an alias as a name":       {"any: {a: &a x, *a : 5}\n", "no name"},
		"a tag at a name":          {"any: {!!str 5: 5}\n", "no name"},
		"a question mark":          {"any:\n  ? a\n  : 5\n", "no name"},
		"a blank":                  {"amount:\n  hour:\n  day: 1\n", `[2:3] "hour" has no value`},
		"a blank at the end":       {"amount:\n  day: 1\n  hour:   # not yet\n", `"hour" has no value`},
		"a blank mapping":          {"amount:\n#  hour: 1\nlists: {}\n", `"amount" has no value`},
		"blanks in flow":           {"amount: {hour: , day: }\n", `"hour" has no value`},
		"a word in flow":           {"amount: {hour, day: 1}\n", `"hour"`},
		"a second document":        {"amount: {hour: 1}\n---\namount: {day: 1}\n", "[2:1] a second document"},
		"one after dots":           {"amount: {hour: 1}\n...\n---\namount: {day: 1}\n", "a second document"},
		"a key twice":              {"amount: {hour: 1}\namount: {hour: 2}\n", "already defined"},

		"lists in lists":         {"any: {a: " + strings.Repeat("[", 100_000), "levels of nesting"},
		"mappings in mappings":   {"any: " + strings.Repeat("{a: ", 100_000), "levels of nesting"},
		"entries in entries":     {strings.Repeat("- ", 100_000) + "x", "levels of nesting"},
		"names in names":         {strings.Repeat("? ", 100_000) + "x", "levels of nesting"},
		"tags at tags":           {"any: " + strings.Repeat("!a ", 100_000) + "x", "levels of nesting"},
		"anchors at anchors":     {"any: " + strings.Repeat("&a ", 100_000) + "x", "levels of nesting"},
		"indentation":            {indented(200), "levels of nesting"},
		"aliases of aliases":     {laughs, "aliases"},
		"too large":              {"any: {a: " + strings.Repeat("x", maxBytes) + "}", "bytes; at most"},
		"an alias inside itself": {"any: &a {b: *a}\n", "stands for nothing"},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		var d doc
		err := Decode([]byte(c[0]), &d)
		runtime.ReadMemStats(&after)
		if err == nil || !strings.Contains(err.Error(), c[1]) || len(err.Error()) > 1000 {
			t.Errorf("%s: error %.500v, want one with %q", name, err, c[1])
		}
		if !reflect.DeepEqual(d, doc{}) && !strings.Contains(c[1], "|") {
			t.Errorf("%s: something was decoded: %+v", name, d)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 400<<20 {
			t.Errorf("%s: allocates %d MiB", name, n>>20)
		}
	}
}

func indented(depth int) string {
	var b strings.Builder
	b.WriteString("any:\n")
	for i := range depth {
		fmt.Fprintf(&b, "%sa:\n", strings.Repeat(" ", i+1))
	}
	return strings.TrimSuffix(b.String(), "\n") + " 1\n"
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{"amount: {hour: 0,02}", "any: &a {b: *a}", "---\na: 1\n---\n", "? a\n: 5", "any: {<<: *a}", "a: !000"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var d doc
		if err := Decode([]byte(s), &d); err != nil && err.Error() == "" {
			t.Error("an error without a text")
		}
	})
}
