package datasets

import (
	"bytes"
	"compress/gzip"
	"io"
	"strings"
	"testing"
)

// A small file that unpacks to a record without an end is refused before it fills the memory.
func TestHostileRecord(t *testing.T) {
	for name, begin := range map[string]string{"a text": `{"question": "`, "blanks": "[", "blanks first": ""} {
		var file bytes.Buffer
		z := gzip.NewWriter(&file)
		for _, part := range append([]string{begin}, strings.Split(strings.Repeat(strings.Repeat(" ", 1<<20)+"|", 100), "|")...) {
			if _, err := io.WriteString(z, part); err != nil {
				t.Fatal(err)
			}
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		err := decode(t.Context(), "questions.jsonl.gz", &file, func(*ownRecord) error { return nil })
		if err == nil || !strings.Contains(err.Error(), "no record has") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
