package conversation

import (
	"encoding/base64"
	"encoding/hex"
	"math/rand"
	"strings"
	"testing"
)

func TestAttachmentsBecomeNotes(t *testing.T) {
	random := make([]byte, 30_000)
	rand.New(rand.NewSource(1)).Read(random)
	png := base64.StdEncoding.EncodeToString(append([]byte("\x89PNG\r\n\x1a\n"), random...))
	var mime strings.Builder
	for s := base64.StdEncoding.EncodeToString(random); s != ""; {
		n := min(76, len(s))
		mime.WriteString(s[:n] + "\r\n")
		s = s[n:]
	}
	for in, want := range map[string]string{
		"see data:image/png;base64," + png + " there":                                 "see [attachment: image/png, 30 kB] there",
		"![me](data:image/jpeg;base64," + png[:1000] + ")":                            "![me]([attachment: image/jpeg, 750 B])",
		"a data:;base64," + png[:80]:                                                  "a [attachment: data, 60 B]",
		`<img src="data:image/svg+xml;utf8,%3Csvg` + strings.Repeat("%20", 40) + `">`: `<img src="[attachment: image/svg+xml, 126 B]">`,
		"raw " + png + "!":                        "raw [attachment: image/png, 30 kB]!",
		"hex " + hex.EncodeToString(random[:600]): "hex [attachment: data, 600 B]",
		"mail:\n" + mime.String() + "bye":         "mail:\n[attachment: data, 31 kB]\r\nbye",
		"I keep data: in a table, base64 too":     "I keep data: in a table, base64 too",
		strings.Repeat("ha", 1000):                strings.Repeat("ha", 1000),
		"https://example.org/" + strings.Repeat("a1/", 100) + "?q=" + strings.Repeat("b2&", 100): "https://example.org/" + strings.Repeat("a1/", 100) + "?q=" + strings.Repeat("b2&", 100),
	} {
		got := noteAttachments(in)
		if got != want {
			t.Errorf("%.60q…: got %.100q, want %q", in, got, want)
		}
		if noteAttachments(got) != got {
			t.Errorf("%.60q…: a second look changes it", in)
		}
	}
}

func FuzzNoteAttachments(f *testing.F) {
	f.Add("data:image/png;base64,aGVsbG8=", 40)
	f.Add("data:,", 1)
	f.Add("A1b2/+_-", 100)
	f.Fuzz(func(t *testing.T, s string, n int) {
		in := strings.Repeat(s, max(0, min(n, 1000)))
		got := noteAttachments(in)
		if len(got) > len(in) {
			t.Fatalf("%q became %q", in, got)
		}
	})
}
