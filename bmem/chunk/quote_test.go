package chunk

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// hostile reads the corpus of texts that imitate another turn or act on a terminal: one Go string a line.
func hostile(t testing.TB) []string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "hostile.txt"))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		var s string
		if _, err := fmt.Sscanf(line, "%q", &s); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		out = append(out, s)
	}
	if len(out) < 100 {
		t.Fatalf("%d texts, want a hundred", len(out))
	}
	return out
}

// spokenBy finds who speaks in what a reader sees: a line, or what follows the end of a quotation.
var spokenBy = regexp.MustCompile(`(?m)(?:^|")\s*(?:\[[^\]\n]*\]\s*)?([A-Z]\w+) said, "`)

func TestHostileTurnsForgeNobody(t *testing.T) {
	for _, text := range hostile(t) {
		for name, turn := range map[string]Turn{
			"text":    {Speaker: "Rita", Session: "1", Time: "3 May 2024", Text: text},
			"speaker": {Speaker: text, Session: "1", Text: "ok"},
			"session": {Speaker: "Rita", Session: text, Text: "ok"},
			"time":    {Speaker: "Rita", Session: "1", Time: text, Text: "ok"},
		} {
			q := turn.Quotable()
			notes := "[" + q.Time + "] " + turn.String() + "\n[" + q.Session + "] " + turn.String()
			for _, m := range spokenBy.FindAllStringSubmatch(notes, -1) {
				if m[1] != "Rita" && name != "speaker" || m[1] == "Omar" {
					t.Errorf("%s %q lets %s speak:\n%s", name, text, m[1], notes)
				}
			}
			if i := strings.IndexFunc(notes, acts); i >= 0 {
				t.Errorf("%s %q leaves %q", name, text, notes[i:])
			}
			if again := q.Quotable(); again != q {
				t.Errorf("%s %q changes again: %+v, then %+v", name, text, q, again)
			}
			if label := q.Speaker + q.Session + q.Time; strings.ContainsAny(label, "\n[]") {
				t.Errorf("%s %q: labels %q", name, text, label)
			}
			for _, line := range strings.Split(turn.String(), "\n")[1:] {
				if l := strings.ToLower(strings.TrimSpace(line)); strings.HasPrefix(l, "# what was said") || strings.HasPrefix(l, "passage 1") {
					t.Errorf("%s %q writes the heading %q", name, text, line)
				}
			}
		}
	}
}

var (
	lineEnds = regexp.MustCompile("\r\n|[\n\r\v\f\u0085\u2028\u2029]")
	// likeMarks are the double quotation marks of Unicode and what looks like one.
	likeMarks = regexp.MustCompile(`["\x{201c}-\x{201f}\x{2033}\x{2036}\x{275d}\x{275e}\x{301d}-\x{301f}\x{3003}\x{ff02}\x{02ba}\x{02dd}\x{02ee}\x{02f6}\x{05f4}]`)
	ourForm   = regexp.MustCompile(`(?i)^[^"]*\bsaid\s*,\s*"`)
)

// mustStayInside holds what is true of every quoted turn, whatever it says: one quotation, which nothing in it ends, and no line that
// could begin a turn.
func mustStayInside(t testing.TB, turn Turn) {
	t.Helper()
	for i, line := range lineEnds.Split(turn.String(), -1) {
		if i > 0 && !strings.HasPrefix(line, "> ") && line != ">" && (turn.Speaker == "" || line != `>"`) {
			t.Errorf("%+q gets the line %+q", turn, line)
		}
	}
	if got := lineEnds.FindString(turn.Line()); got != "" {
		t.Errorf("%+q: on one line there is %+q", turn, got)
	}
	for _, s := range []string{turn.String(), turn.Line()} {
		if turn.Speaker == "" {
			if ourForm.MatchString(s) || strings.HasPrefix(strings.TrimSpace(s), "[") || strings.HasPrefix(strings.TrimSpace(s), "#") {
				t.Errorf("%+q, which nobody speaks, is written as %+q", turn, s)
			}
			continue
		}
		name, rest, ok := strings.Cut(s, ` said, "`)
		inside, end := strings.CutSuffix(rest, `"`)
		if at := likeMarks.FindString(name + inside); !ok || !end || at != "" {
			t.Errorf("%+q has the mark %+q inside: %+q", turn, at, s)
		}
	}
}

func TestNothingLeavesItsQuotation(t *testing.T) {
	for _, text := range hostile(t) {
		mustStayInside(t, Turn{ID: "1:1", Speaker: "Rita", Session: "1", Text: text})
		mustStayInside(t, Turn{ID: "1:1", Speaker: text, Session: "1", Text: text})
		mustStayInside(t, Turn{ID: "1:1", Speaker: "\n ", Session: "1", Text: text})
		mustStayInside(t, Turn{ID: "1:1", Session: "1", Text: text})
		mustStayInside(t, Turn{ID: "1:1", Session: "1", Text: " [3 May 2024] " + text})
		if l := Label(text); lineEnds.MatchString(l) || strings.ContainsAny(l, "[]") || ourForm.MatchString(l) {
			t.Errorf("%+q is the label %+q", text, l)
		}
	}
}

// What people write is quoted as they wrote it, but for double quotation marks and the mark of further lines.
func TestOrdinaryTurns(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{`I went to a LGBTQ support group yesterday, and it's so powerful.`, ""},
		{"Привет, «мир»!", ""}, {"日本語「引用」", ""}, {"emoji 👩‍👩‍👧 and accents é", ""}, {"‘single’ and 5' 3 tall", ""},
		{"Scotland 🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f wins", ""},
		{`I read "Brave" by Sara, and "Charlotte's Web".`, `I read 'Brave' by Sara, and 'Charlotte's Web'.`},
		{"He said “come in”, and „komm“.", "He said ‘come in’, and ‚komm‘."},
		{`The 20" x 12" pillow`, `The 20'' x 12'' pillow`},
		{"Two lines\n [shared picture: a poster]", "Two lines\n>  [shared picture: a poster]"},
		{"# Heading\n\n- one\n  - two\n\n```go\nx := []int{1}\n```", "# Heading\n>\n> - one\n>   - two\n>\n> ```go\n> x := []int{1}\n> ```"},
		{"from a mail\r\n> what you wrote\n\n\nyes", "from a mail\n> > what you wrote\n>\n>\n> yes"},
	} {
		turn := Turn{Speaker: "Rita", Session: `"Heroes" (album)`, Time: "2023/05/20 (Sat) 02:21", Text: c.text}
		want := c.want
		if want == "" {
			want = c.text
		}
		if got, want := turn.String(), `Rita said, "`+want+`"`; got != want {
			t.Errorf("%q is quoted as\n%s\nwant\n%s", c.text, got, want)
		}
		if q := turn.Quotable(); q.Session != turn.Session || q.Time != turn.Time || q.Speaker != turn.Speaker {
			t.Errorf("%+v becomes %+v", turn, q)
		}
		if raw := turn.Raw(); raw != `Rita said, "`+c.text+`"` {
			t.Errorf("%q is searched as %s", c.text, raw)
		}
	}
	for _, text := range []string{
		`The producer Alexander Rodnyansky has said: "It deals with some of the most important issues."`,
		`In "The Guardian", Eric Blom wrote, "This young composer is a genius" and said that he knew.`,
		`Wikipedia says: "The Maharaja had occasion to visit a school."`,
	} {
		if turn := (Turn{Session: "A document", Text: text}); turn.Quotable() != turn || turn.String() != text {
			t.Errorf("%q becomes %q", text, turn.String())
		}
	}
}

// FuzzQuotable holds that quoting is stable and lets through nothing that acts on a terminal.
func FuzzQuotable(f *testing.F) {
	for _, s := range hostile(f) {
		f.Add("Rita", s)
		f.Add(s, "ok")
	}
	f.Fuzz(func(t *testing.T, speaker, text string) {
		turn := Turn{Speaker: speaker, Text: text}
		q := turn.Quotable()
		if again := q.Quotable(); again != q {
			t.Errorf("%q, %q: %+v, then %+v", speaker, text, q, again)
		}
		if s := turn.String(); Plain(s) != s {
			t.Errorf("%q, %q: %q", speaker, text, turn.String())
		}
		mustStayInside(t, turn)
		if n := utf8.RuneCountInString(q.Speaker); n > maxLabel+1 {
			t.Errorf("a name of %d characters", n)
		}
	})
}
