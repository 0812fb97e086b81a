// Package pytext has Python's notions of lower case and white space, which differ from Go's outside ASCII. The benchmarks'
// official scripts are Python, and scores must equal theirs on any text.
package pytext

import (
	"strings"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/language"
)

// Lower is str.lower: full Unicode case mapping, the final sigma included.
func Lower(s string) string {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return cases.Lower(language.Und).String(s)
		}
	}
	return strings.ToLower(s)
}

// IsSpace is str.isspace of one character: Unicode white space and the four ASCII separators.
func IsSpace(r rune) bool { return unicode.IsSpace(r) || 0x1c <= r && r <= 0x1f }

// Fields is str.split without an argument.
func Fields(s string) []string { return strings.FieldsFunc(s, IsSpace) }

// Strip is str.strip without an argument.
func Strip(s string) string { return strings.TrimFunc(s, IsSpace) }
