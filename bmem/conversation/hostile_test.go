package conversation

import (
	"archive/zip"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// blanks are n blanks, without holding them.
type blanks struct{ n int }

func (b *blanks) Read(p []byte) (int, error) {
	n := min(len(p), b.n)
	if n == 0 {
		return 0, io.EOF
	}
	for i := range p[:n] {
		p[i] = ' '
	}
	b.n -= n
	return n, nil
}

// Small files that unpack to anything, and values in values, are refused in little time and memory.
func TestHostileExports(t *testing.T) {
	const huge = 200 << 20
	pack := func(files map[string]io.Reader) string {
		path := filepath.Join(t.TempDir(), "export.zip")
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		z := zip.NewWriter(f)
		for name, r := range files {
			w, err := z.Create(name)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(w, r); err != nil {
				t.Fatal(err)
			}
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write := func(text string) string {
		path := filepath.Join(t.TempDir(), "a.json")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, c := range map[string]struct{ path, want string }{
		"a list of people": {pack(map[string]io.Reader{"users.json": &blanks{huge}, "general/2024-05-03.json": strings.NewReader("[]")}), "no list of people"},
		"a line":           {pack(map[string]io.Reader{"a.jsonl": io.MultiReader(strings.NewReader(`{"text": "`), &blanks{huge}, strings.NewReader(`"}`))}), "32 MiB"},
		"blanks":           {pack(map[string]io.Reader{"conversations.json": io.MultiReader(strings.NewReader("["), &blanks{huge}, strings.NewReader("]"))}), "32 MiB"},
		"a day":            {pack(map[string]io.Reader{"general/2024-05-03.json": io.MultiReader(strings.NewReader(`[{"text": "`), &blanks{huge})}), "32 MiB"},
		"lists in lists":   {write(`[{"role": "user", "content": ` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + `, "more": "` + strings.Repeat("x", 1<<20) + `"}]`), "more than 64 deep"},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		start := time.Now()
		_, err := ReadFile(c.path)
		runtime.ReadMemStats(&after)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %.300v, want %q", name, err, c.want)
		}
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("%s: took %v", name, took)
		}
		if grown := int64(after.Sys) - int64(before.Sys); grown > 700<<20 {
			t.Errorf("%s: took %d MB", name, grown>>20)
		}
	}
}

// Many conversations of one title are told apart, in time that grows with their number only.
func TestManyOfOneTitle(t *testing.T) {
	const n = 60_000
	var text strings.Builder
	text.WriteString("[")
	for i := range n {
		if i > 0 {
			text.WriteString(",")
		}
		text.WriteString(`{"title": "A", "messages": [{"role": "user", "content": "x"}]}`)
	}
	text.WriteString("]")
	start := time.Now()
	talk, err := Read(strings.NewReader(text.String()), "a.json")
	if err != nil || len(talk.Turns) != n {
		t.Fatalf("%d turns, %v", len(talk.Turns), err)
	}
	sessions := map[string]bool{}
	for _, turn := range talk.Turns {
		sessions[turn.Session] = true
	}
	if len(sessions) != n || talk.Turns[2].Session != "A (3)" {
		t.Errorf("%d sessions, the third %q", len(sessions), talk.Turns[2].Session)
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("took %v", took)
	}
}
