package chunk

import (
	"regexp"
	"strings"
	"unicode"
)

// A turn is quoted as `SPEAKER said, "TEXT"` in prompts, notes, pages and on the terminal. Its text is somebody's words and may
// hold anything. Two rules keep it inside its quotation, whatever it says: no double quotation mark stands within one, so that the
// next one ends it; and a line that goes on with a turn begins with ">", so that a line without that mark begins a turn.

// Quotable returns the turn as it may be quoted: control characters go, every line break is a line feed, names are one line
// without square brackets, and double quotation marks are single ones in the speaker's name and in what is said. The text of a turn
// that nobody speaks stands in no quotation and keeps its marks, unless it is written as a quoted turn is.
func (t Turn) Quotable() Turn {
	if t.Speaker != "" {
		t.Speaker = single(Label(t.Speaker))
		if strings.TrimSpace(t.Speaker) == "" {
			t.Speaker = "?" // somebody, with a name of blanks, and no document
		}
	}
	t.Session, t.Time = Label(t.Session), Label(t.Time)
	t.Text = Plain(breaks.Replace(t.Text))
	if t.Speaker != "" || claims(t.Text) {
		t.Text = single(t.Text)
	}
	return t
}

// marked returns text with a mark before each line but the first.
func marked(s string) string {
	lines := strings.Split(s, "\n")
	for i, l := range lines[1:] {
		if lines[i+1] = ">"; l != "" {
			lines[i+1] = "> " + l
		}
	}
	return strings.Join(lines, "\n")
}

// Plain returns text without characters that act on a terminal or on the order of letters instead of being shown: control
// characters but for line breaks and tabs, separators of lines and paragraphs, overrides of the writing direction, and tags. Each
// becomes U+FFFD.
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
	case r >= '\u2028' && r <= '\u202e', r >= '\u2066' && r <= '\u2069':
		return true
	}
	return tag(r)
}

// Label returns a turn's id or a session's name or time as it may stand before a quotation, in brackets or not: on one line, without
// square brackets, at most 200 characters, and with single quotation marks if it is written as a quoted turn is.
func Label(s string) string {
	if strings.ContainsAny(s, "\n\t\r\v\f\u0085\u2028\u2029[]［］") {
		s = brackets.Replace(oneLine(s))
	}
	if s = Plain(s); claims(s) {
		s = single(s)
	}
	if r := []rune(s); len(r) > maxLabel {
		s = string(r[:maxLabel]) + "…"
	}
	return s
}

const maxLabel = 200

// oneLine has one blank wherever s has blanks or line breaks.
func oneLine(s string) string { return strings.Join(strings.Fields(breaks.Replace(s)), " ") }

// doubles are the double quotation marks that could be taken for the one that ends a quotation. Guillemets and corner brackets
// could not.
const doubles = `"“”„‟＂″‶〃❝❞〝〞〟ʺ˝ˮ˶״⹂🙶🙷🙸`

var (
	// singles has the single mark for each double one.
	singles = strings.NewReplacer(`"`, "'", "“", "‘", "”", "’", "„", "‚", "‟", "‛", "＂", "＇", "″", "′′", "‶", "‵‵", "〃", "''", "❝", "❛", "❞", "❜",
		"〝", "‘", "〞", "’", "〟", "’", "ʺ", "ʹʹ", "˝", "''", "ˮ", "ʼʼ", "˶", "''", "״", "׳׳", "⹂", "‚", "🙶", "❛", "🙷", "❜", "🙸", "‚")
	brackets = strings.NewReplacer("[", "(", "]", ")", "［", "(", "］", ")")
	breaks   = strings.NewReplacer("\r\n", "\n", "\r", "\n", "\v", "\n", "\f", "\n", "\u0085", "\n", "\u2028", "\n", "\u2029", "\n")
	// inchesRE finds a mark behind a digit, which may be inches: one single mark would be feet.
	inchesRE = regexp.MustCompile(`([0-9])"`)
	// claimsRE finds what stands before the text of a quoted turn.
	claimsRE = regexp.MustCompile(`(?i)said[\s\pZ]*[,，][\s\pZ]*[` + doubles + `]`)
	// headRE finds a text that begins as headings and dates of notes do.
	headRE = regexp.MustCompile(`^[\s\pZ]*[#\[＃［]`)
	// unseen drops characters without width, which hide a word.
	unseen = strings.NewReplacer("\u200b", "", "\u200c", "", "\u200d", "", "\u2060", "", "\ufeff", "", "\u00ad", "")
)

// single returns text with single quotation marks in place of double ones.
func single(s string) string {
	if !strings.ContainsAny(s, doubles) {
		return s
	}
	return singles.Replace(inchesRE.ReplaceAllString(s, "$1''"))
}

// claims reports whether a text outside of a quotation is written as a quoted turn is.
func claims(s string) bool {
	return strings.ContainsAny(s, doubles) && claimsRE.MatchString(unseen.Replace(s))
}
