package postgres

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func FuzzEscape(f *testing.F) {
	for _, s := range []string{"", "plain", "a\x00b", "\xff\xfe", "\ufdd0", "\ufdd0\ufdd0\u0100", "\ufdd0\u0141", "é\xc3", "\xed\xa0\x80"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e := escape(s)
		if !utf8.ValidString(e) || strings.Contains(e, "\x00") {
			t.Errorf("%q becomes %q, which cannot be stored", s, e)
		}
		if got := unescape(e); got != s {
			t.Errorf("%q comes back as %q", s, got)
		}
	})
}

func TestBind(t *testing.T) {
	for query, want := range map[string]string{
		"SELECT 1":                      "SELECT 1",
		"a = ? AND b = ? OR c IN (?,?)": "a = $1 AND b = $2 OR c IN ($3,$4)",
		"a = ?2 AND b = ?1 OR ?12 = ?1": "a = $2 AND b = $1 OR $12 = $1",
		"LIMIT ?":                       "LIMIT $1",
	} {
		if got := bind(query); got != want {
			t.Errorf("%q became %q, want %q", query, got, want)
		}
	}
}
