package notebook

import (
	"bytes"
	"go/format"
	"os"
	"slices"
	"strings"
	"testing"
)

func TestScript(t *testing.T) {
	script, err := os.ReadFile("testdata/example.go")
	if err != nil {
		t.Fatal(err)
	}
	nb, err := ParseScript(script)
	if err != nil {
		t.Fatal(err)
	}
	want := []struct {
		kind   Kind
		line   int
		source string
	}{
		{Markdown, 16, "# A title\n\nText with `code`, and a line that looks like a mark:\n\n%% [markdown]"},
		{Code, 24, `import "fmt"`},
		{Code, 28, "// How many questions to ask, and whom.\nvar questions = 12\nvar model = \"small\""},
		{Code, 33, "%%bash\necho \"from a shell\""},
		{Code, 38, "%env A=b\n\n// twice doubles.\nfunc twice(n int) int { return 2 * n }\n\n!ls -l \\\n  /tmp\n\n%% --verbose\n" +
			"for i := range questions {\n\tfmt.Println(twice(i), model)\n}\n\n!date\nfmt.Println(`a raw\n//%% string`)"},
		{Code, 58, "func main() {\n\tfmt.Println(\"a function of its own\")\n}"},
	}
	if len(nb.Cells) != len(want) {
		t.Fatalf("cells %+v", nb.Cells)
	}
	for i, w := range want {
		if c := nb.Cells[i]; c.Kind != w.kind || c.Source != w.source || c.Line != w.line {
			t.Errorf("cell %d: %s at line %d\n%s\nwant %s at line %d\n%s", i+1, c.Kind, c.Line, c.Source, w.kind, w.line, w.source)
		}
	}
	if shows, err := nb.Shows(); err != nil || !slices.Equal(shows, []string{"chart:frontier"}) {
		t.Errorf("shows %v, %v", shows, err)
	}
	if nb.tagged("parameters") != 2 || nb.KernelName() != Kernel || nb.Metadata["language_info"] != nil {
		t.Errorf("metadata %v", nb.Metadata)
	}
	if c := nb.Cells[4]; c.ID != "own-id" || string(c.Metadata["a key"]) != `[1,{}]` || string(c.Metadata["collapsed"]) != "true" {
		t.Errorf("cell %+v", c)
	}
	checkRoundTrips(t, nb)
	// What gofmt has formatted is not changed by going through a notebook, and neither does gofmt change what was written.
	out, err := nb.Script()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out, script) {
		t.Errorf("written anew:\n%s", out)
	}
	if formatted, err := format.Source(out); err != nil || !bytes.Equal(formatted, out) {
		t.Errorf("%v, by gofmt:\n%s", err, formatted)
	}
}

func TestScriptsWrittenByHand(t *testing.T) {
	for _, c := range []struct {
		name, script string
		want         []string // sources
	}{
		{"no mark", "package main\n\nimport \"fmt\"\n\nfunc main() {\n\tfmt.Println()\n}\n", []string{"import \"fmt\"\n\nfunc main() {\n\tfmt.Println()\n}"}},
		{"nothing", "", nil},
		{"marks as gofmt writes them", "// Licence.\n\npackage main\n\n// %%\nvar a = 1\n\n// %% [markdown]\n// Text\n\n//more\n", []string{"// Licence.", "var a = 1", "Text\n\nmore"}},
		{"no empty lines", "//%%\nvar a = 1\n//%%\nvar b = 1", []string{"var a = 1", "var b = 1"}},
		{"no end of the last line", "//%%\n\n//%%", []string{"", ""}},
		{"carriage return behind the mark", "//%%\r\nvar a = 1\n", []string{"var a = 1"}},
		{"empty lines behind main", "//%%\nfunc main() { //gonb:%%\n\tf()\n}\n\n\n//%%\n", []string{"%%\nf()", ""}},
		{"not a mark", "//%%\n//%%% no\n//%%no\n  //%% no\n", []string{"//%%% no\n//%%no\n  //%% no"}},
	} {
		nb, err := ParseScript([]byte(c.script))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		var got []string
		for _, cell := range nb.Cells {
			got = append(got, cell.Source)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		checkRoundTrips(t, nb)
	}
}

func TestBrokenScripts(t *testing.T) {
	for script, want := range map[string]string{
		"package main\n\n//%% Title":               `line 3: "Title" is neither [kind], #ID, key=JSON`,
		"//%% [chart]":                             "line 1: [chart] is none of",
		"//%% [markdown":                           "line 1: no ] behind [",
		"//%% [markdown]\n// a\nb":                 "line 3: want a comment",
		"//%%\n//%% [notebook]\n// {}":             "line 2: [notebook] is not the first cell",
		"//%% [notebook]\n// {":                    "line 1: [notebook]: line 1: ",
		"//%% [notebook]\n// []":                   "line 1: [notebook]: want a JSON object",
		"//%% [notebook]\nb":                       "line 1: [notebook]: want a comment",
		"//%% [notebook]\n// {\"budgetmem\": 3}":   "field metadata.budgetmem",
		"//%% tags=[\"a\"":                         "line 1: tags: ",
		"//%% tags=":                               "line 1: tags: a JSON value is missing",
		"//%% tags=3":                              "line 1: field metadata.tags: want a list of strings",
		"//%% a=1 a=2":                             "line 1: a stands twice",
		"//%% a=1 {\"a\": 2}":                      "line 1: a stands twice",
		"//%% @attachments={}":                     "line 1: @attachments is for text",
		"//%% #ä":                                  `line 1: field id: "ä"`,
		"//%% #a\n//%% #a":                         `line 2: field id: "a" is the ID of an earlier cell too`,
		"//%%\n\nfunc main() { //gonb:%%\n\tf()\n": "line 4: want }, the end of func main",
		"//%%\nfunc main() { //gonb:ls\n}":         "line 2: want func main() { //gonb:%%",
		"//%%\na\xff":                              "line 2: not UTF-8",
	} {
		if _, err := ParseScript([]byte(script)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q\n  error %v\n  want  %s", script, err, want)
		}
	}
}

func FuzzParseScript(f *testing.F) {
	script, err := os.ReadFile("testdata/example.go")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(script)
	f.Add([]byte("//%% [raw] #a a=1 {\"b c\": 2} @attachments={\"f\": {\"text/plain\": \"x\"}}\n// text\n//%%\nfunc main() { //gonb:%%\n\t//\\gonb:x\n}\n"))
	f.Add([]byte("package main\nvar a = 1\n// %%\n//\\%%\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if nb, err := ParseScript(data); err == nil {
			checkRoundTrips(t, nb)
		}
	})
}
