package postgres

import (
	"strings"
	"unicode/utf8"
)

// PostgreSQL stores text in UTF-8 without zero bytes, but turns may hold any bytes. A byte that cannot be stored becomes the mark and the
// character that is 0x100 above it; a mark becomes two. The mark is a code point that Unicode keeps out of texts.
const (
	mark  = '\ufdd0'
	above = 0x100
)

// escape writes a string so that it can be stored.
func escape(s string) string {
	if utf8.ValidString(s) && !strings.ContainsAny(s, "\x00"+string(mark)) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == 0 || r == utf8.RuneError && size == 1:
			b.WriteRune(mark)
			b.WriteRune(above + rune(s[i]))
		case r == mark:
			b.WriteRune(mark)
			b.WriteRune(mark)
		default:
			b.WriteString(s[i : i+size])
		}
		i += size
	}
	return b.String()
}

// unescape reads what escape wrote.
func unescape(s string) string {
	if !strings.ContainsRune(s, mark) {
		return s
	}
	var b strings.Builder
	escaped := false
	for _, r := range s {
		switch {
		case !escaped && r == mark:
			escaped = true
			continue
		case escaped && r != mark && r >= above && r <= above+0xff:
			b.WriteByte(byte(r - above))
		default:
			b.WriteRune(r)
		}
		escaped = false
	}
	return b.String()
}

// escapeAll escapes the strings among values.
func escapeAll(args []any) []any {
	for i, a := range args {
		if s, ok := a.(string); ok {
			if e := escape(s); e != s {
				args = append(append([]any{}, args[:i]...), append([]any{e}, args[i+1:]...)...)
			}
		}
	}
	return args
}
