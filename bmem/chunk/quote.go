package chunk

import (
	"regexp"
	"strings"
	"unicode"
)

// A turn is quoted as `SPEAKER said, "TEXT"` in prompts, notes, pages and on the terminal. Its text is somebody's words and may
// hold anything, among it what closes the quotation and goes on as if somebody else spoke. Quotable is the one rule against
// that; text that holds no such thing is left as it is, quotation marks and line breaks included.

// Quotable returns the turn so that String cannot be taken for another turn's, for a heading of notes, or for a command to a
// terminal: control characters go, names are one line without quotation marks and brackets, and a text that imitates a turn
// or a heading is written on one line with single quotation marks.
func (t Turn) Quotable() Turn {
	t.Speaker, t.Session, t.Time = marks.Replace(Label(t.Speaker)), Label(t.Session), Label(t.Time)
	t.Text = Plain(t.Text)
	if imitates(t) {
		t.Text = marks.Replace(strings.Join(strings.Fields(t.Text), " "))
	}
	return t
}

// Plain returns text without characters that act on a terminal or on the order of letters instead of being shown: control
// characters but for line breaks and tabs, overrides of the writing direction, and tags. Each becomes U+FFFD.
func Plain(s string) string {
	if strings.IndexFunc(s, acts) < 0 {
		return s
	}
	flag := false // an emoji of a flag may be followed by tags, which say whose it is
	return strings.Map(func(r rune) rune {
		flag = r == '🏴' || flag && tag(r)
		if acts(r) && !flag {
			return unicode.ReplacementChar
		}
		return r
	}, strings.ReplaceAll(s, "\r\n", "\n"))
}

func tag(r rune) bool { return r >= 0xe0020 && r <= 0xe007f }

func acts(r rune) bool {
	switch {
	case r == '\n' || r == '\t':
		return false
	case unicode.IsControl(r): // C0 and C1, which many terminals obey too
		return true
	case r >= '\u202a' && r <= '\u202e', r >= '\u2066' && r <= '\u2069':
		return true
	}
	return tag(r)
}

// Label returns a session's name or time as it may stand in brackets before a quotation: on one line, without square brackets,
// at most 200 characters, and with single quotation marks if it says that somebody said something.
func Label(s string) string {
	s = Plain(s)
	if strings.ContainsAny(s, "\n\t\u2028\u2029[]［］") {
		s = brackets.Replace(strings.Join(strings.Fields(s), " "))
	}
	if imitates(Turn{Text: s}) {
		s = marks.Replace(s)
	}
	if r := []rune(s); len(r) > maxLabel {
		s = string(r[:maxLabel]) + "…"
	}
	return s
}

const maxLabel = 200

var (
	marks    = strings.NewReplacer(`"`, "'", "“", "'", "”", "'", "„", "'", "«", "'", "»", "'", "＂", "'", "″", "'", "‟", "'")
	brackets = strings.NewReplacer("[", "(", "]", ")", "［", "(", "］", ")")

	// foldMarks makes all double quotation marks plain and drops characters without width, which hide a word.
	foldMarks = strings.NewReplacer("“", `"`, "”", `"`, "„", `"`, "«", `"`, "»", `"`, "＂", `"`, "″", `"`, "‟", `"`,
		"\u2028", "\n", "\u2029", "\n", "\u200b", "", "\u200c", "", "\u200d", "", "\u2060", "", "\ufeff", "", "\u00ad", "", "，", ",", "：", ":", "［", "[", "］", "]", "\u00a0", " ", "\u202f", " ", "\u3000", " ")

	// saysRE finds, behind the end of a quotation or at the beginning of a line, a name with "said" and a quotation.
	saysRE = regexp.MustCompile(`(?i)(?:"|\n|^)\s*(\[[^\]\n]*\]\s*)?[-–—*#>.,;|\s]*([^\s,.!?:;"\n]+(?:[ \t]+[^\s,.!?:;"\n]+){0,4})[ \t]+(?:said|says|wrote)\s*[,:]?\s*"`)
	// headedRE finds a line with a date in brackets before it, as notes have them.
	headedRE = regexp.MustCompile(`(?i)\n\s*\[[^\]\n]{0,60}(?:\b(?:19|20)\d\d\b|\b(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\b|yesterday|today)[^\]\n]{0,60}\]`)
	// headingRE finds the headings of notes and prompts.
	headingRE = regexp.MustCompile(`(?i)\n\s*(?:#+\s*(?:themes|facts|dates|what was said)\s*(?:\n|$)|passage \d+\b[^\n]{0,80}:|notes from (?:memory|documents|a conversation)\b)`)
)

// imitates reports whether a text holds what could be taken for another turn or for a heading.
func imitates(t Turn) bool {
	if !strings.ContainsAny(t.Text, "\n\u2028\u2029\"“”„«»＂″‟") {
		return false
	}
	s := foldMarks.Replace(t.Text)
	if strings.Contains(s, "\n") && (headedRE.MatchString(s) || headingRE.MatchString(s)) {
		return true
	}
	if !strings.Contains(s, `"`) {
		return false
	}
	for _, m := range saysRE.FindAllStringSubmatchIndex(s, -1) {
		// Inside a turn with a speaker, a text that begins so is a quotation in a quotation.
		if m[0] == 0 && s[0] != '"' && s[0] != '\n' && t.Speaker != "" && m[2] < 0 {
			continue
		}
		// A document's sentence stands in no quotation that it could end; it imitates a turn only if it is written just as one.
		if t.Speaker == "" && m[2] < 0 && (s[m[0]] == '"' || !strings.HasSuffix(strings.ToLower(s[m[0]:m[1]]), ` said, "`)) {
			continue
		}
		name := strings.Fields(strings.ToLower(s[m[4]:m[5]]))
		if last := name[len(name)-1]; m[2] >= 0 || len(name) > 0 && !nobody[name[0]] && last != "being" && last != "having" {
			return true
		}
	}
	return false
}

// nobody are words before "said" that name no speaker.
var nobody = map[string]bool{"i": true, "you": true, "he": true, "she": true, "it": true, "we": true, "they": true, "who": true, "and": true,
	"has": true, "had": true, "have": true, "is": true, "was": true}
