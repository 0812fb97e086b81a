package datasets

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"os/exec"
	"path/filepath"
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

// A named pipe in a data set is refused, and nobody waits for it.
func TestPipeInDataSet(t *testing.T) {
	for _, name := range []string{ConfigFile, ownQuestions, filepath.Join(ownMemories, "a.jsonl")} {
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, ownMemories), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, ownMemories, "b.jsonl"), []byte(`{"text": "x"}`), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("mkfifo", filepath.Join(dir, name)).CombinedOutput(); err != nil {
			t.Fatalf("mkfifo: %v %s", err, out)
		}
		if _, err := openOwn(dir); err == nil || !strings.Contains(err.Error(), "no regular file") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
