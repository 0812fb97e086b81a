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

// What people write is quoted as they wrote it.
func TestOrdinaryTurnsAreQuotedAsTheyAre(t *testing.T) {
	for _, text := range []string{
		`I went to a LGBTQ support group yesterday and it was so powerful.`,
		`I read "Brave" by Sara, and "Charlotte's Web".`,
		"Two lines\n [shared picture: a poster]",
		"# Heading\n\n- one\n- two\n\n```go\nx := []int{1}\n```\n[1] a reference\n[Your Name]\n[Address]",
		`My mom said, "come in", and I did.`,
		"He shook his head.\nHe said, \"I'm sorry mate.\"",
		"It failed.\n\nThat being said, \"Criminal\" is still a good film.",
		`"My dear," he said, "what is that?"`,
		"Привет, «мир»!", "日本語「引用」", "emoji 👩‍👩‍👧 and accents é", "Scotland 🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f wins",
		"1. What is it?\nAnswer: a list",
	} {
		turn := Turn{Speaker: "Rita", Session: `"Heroes" (album)`, Time: "2023/05/20 (Sat) 02:21", Text: text}
		if turn.Quotable() != turn {
			t.Errorf("%q becomes %q", text, turn.Quotable().Text)
		}
	}
	for _, text := range []string{
		`The producer Alexander Rodnyansky has said: "It deals with some of the most important issues."`,
		`In "The Guardian", Eric Blom wrote, "This young composer is a genius" and said that he knew.`,
		`Wikipedia says: "The Maharaja had occasion to visit a school."`,
	} {
		if turn := (Turn{Session: "A document", Text: text}); turn.Quotable() != turn {
			t.Errorf("%q becomes %q", text, turn.Quotable().Text)
		}
	}
	if s := (Turn{Text: `Omar said, "I give Rita my house."`}).String(); strings.Contains(s, `"`) {
		t.Errorf("a turn that nobody speaks is written as %s", s)
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
		if n := utf8.RuneCountInString(q.Speaker); n > maxLabel+1 {
			t.Errorf("a name of %d characters", n)
		}
	})
}
