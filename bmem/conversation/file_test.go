package conversation

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/bmem/chunk"
)

// stream reads a file turn by turn.
func stream(path string) (Conversation, error) {
	f, err := Open(context.Background(), path, nil)
	if err != nil {
		return Conversation{}, err
	}
	var turns []chunk.Turn
	for t, err := range f.All() {
		if err != nil {
			return Conversation{}, err
		}
		turns = append(turns, t)
	}
	if len(turns) != f.Turns {
		return Conversation{}, fmt.Errorf("%d turns were promised, %d came", f.Turns, len(turns))
	}
	return Conversation{turns, f.Seen}, nil
}

// packed makes a zip file of a folder, as it is or inside another one.
func packed(t *testing.T, folder, inside string) string {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	err := filepath.WalkDir(folder, func(file string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(folder, file)
		if err != nil {
			return err
		}
		w, err := z.Create(filepath.ToSlash(filepath.Join(inside, rel)))
		if err != nil {
			return err
		}
		_, err = w.Write(data)
		return err
	})
	if err = errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "export.zip")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A Slack export is read from its folder and from the zip file, with people and channels by their names.
func TestSlackExport(t *testing.T) {
	want := []chunk.Turn{
		{ID: "Rita and Omar Haddad, 2025-03-05:1", Session: "Rita and Omar Haddad, 2025-03-05", Time: "2025-03-05 10:04:00", Speaker: "Omar Haddad", Text: "Is the <old> key with you?"},
		{ID: "general, 2025-03-03:1", Session: "general, 2025-03-03", Time: "2025-03-03 10:04:00", Speaker: "Rita",
			Text: "@Omar Haddad we meet at the old mill & bring bread, see the map (https://example.org/mill)"},
		{ID: "general, 2025-03-03:2", Session: "general, 2025-03-03", Time: "2025-03-03 10:05:00", Speaker: "Omar Haddad", Text: "Fine."},
		{ID: "general, 2025-03-04:1", Session: "general, 2025-03-04", Time: "2025-03-04 10:04:00", Speaker: "Calendar", Text: "Reminder: @channel the mill in #general"},
	}
	for _, path := range []string{"testdata/slack", packed(t, "testdata/slack", ""), packed(t, "testdata/slack", "Acme export")} {
		got, err := ReadFile(path)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if !reflect.DeepEqual(got.Turns, want) || got.Form != slackForm || !reflect.DeepEqual(got.LeftOut, map[string]int{leftMedia: 1, leftNotices: 1}) {
			t.Errorf("%s: %s, %v left out, %+v", path, got.Form, got.LeftOut, got.Turns)
		}
	}
}

// Exports of one file that come as a zip file or folder with others.
func TestPackedExports(t *testing.T) {
	for from, to := range map[string]string{"chatgpt.json": "conversations.json", "claude.json": "conversations.json", "telegram.json": "result.json", "whatsapp.txt": "_chat.txt"} {
		dir := t.TempDir()
		data, err := os.ReadFile(filepath.Join("testdata/exports", from))
		if err != nil {
			t.Fatal(err)
		}
		for name, content := range map[string][]byte{to: data, "users.json": []byte("[]"), "chat.html": []byte("<html>")} {
			if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := ReadFile(filepath.Join("testdata/exports", from))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{dir, packed(t, dir, "")} {
			if got, err := stream(path); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%s as %s: %+v, %v", from, path, got, err)
			}
		}
	}
	if _, err := ReadFile(t.TempDir()); err == nil || !strings.Contains(err.Error(), "holds no export") {
		t.Errorf("an empty folder: %v", err)
	}
	cut := filepath.Join(t.TempDir(), "cut.zip")
	data, err := os.ReadFile(packed(t, "testdata/slack", ""))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(cut, data[:len(data)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadFile(cut); err == nil || !strings.Contains(err.Error(), "cut.zip") || !strings.Contains(err.Error(), "cut off") {
		t.Errorf("half a zip file: %v", err)
	}
}

// What is a document, and what its paragraphs and sections are.
func TestReadDocuments(t *testing.T) {
	turn := func(session string, n int, text string) chunk.Turn {
		return chunk.Turn{ID: fmt.Sprintf("%s:%d", session, n), Session: session, Text: text}
	}
	long := strings.Repeat("All work and no play. ", 1000)
	for name, c := range map[string]struct {
		in   string
		form string
		want []chunk.Turn
		left int
	}{
		"plain.txt":   {"One\nparagraph.\n\n\nAnother: with a colon.\r\n", "a text document", []chunk.Turn{turn("plain", 1, "One\nparagraph."), turn("plain", 2, "Another: with a colon.")}, 0},
		"links.md":    {"[a link](https://example.org) begins it.\n", "a Markdown document", []chunk.Turn{turn("links", 1, "[a link](https://example.org) begins it.")}, 0},
		"brace.txt":   {"{curly} words.", "a text document", []chunk.Turn{turn("brace", 1, "{curly} words.")}, 0},
		"unnamed":     {"# Title #\ntext\n## Sub\n1. one\n2. two\n   more\n# Next\n\nend", "a Markdown document", []chunk.Turn{turn("unnamed / Title", 1, "text"), turn("unnamed / Title / Sub", 1, "1. one"), turn("unnamed / Title / Sub", 2, "2. two\n   more"), turn("unnamed / Next", 1, "end")}, 0},
		"marks.md":    {"---\nkey: v\n---\n<!-- no -->\n\n* * *\n\n![x](y.png) ![z](w.png)\n\nwords\n\n~~~\n# code\n\n~~~~\nafter", "a Markdown document", []chunk.Turn{turn("marks", 1, "words"), turn("marks", 2, "~~~\n# code\n\n~~~~\nafter")}, 4},
		"headings.md": {"A title\n=======\na\n\nB\n-\nb", "a Markdown document", []chunk.Turn{turn("headings / A title", 1, "a"), turn("headings / A title / B", 1, "b")}, 0},
	} {
		got, err := Read(strings.NewReader(c.in), "/some/where/"+name)
		if err != nil || !reflect.DeepEqual(got.Turns, c.want) || got.Form != c.form || got.Skipped != c.left {
			t.Errorf("%s: %v, %q, %d left out, %+v\nwant %+v", name, err, got.Form, got.Skipped, got.Turns, c.want)
		}
	}
	// A line of any length loses nothing, and no character is cut.
	for _, in := range []string{long, strings.ReplaceAll(long, " ", ""), strings.Repeat("猫", 100_000), "x" + strings.Repeat("é", 80_000)} {
		got, err := Read(strings.NewReader(in), "long.txt")
		if err != nil {
			t.Fatal(err)
		}
		all := ""
		for _, turn := range got.Turns {
			if len(turn.Text) > 2*longestParagraph {
				t.Errorf("a turn of %d bytes", len(turn.Text))
			}
			all += turn.Text
		}
		if strings.ReplaceAll(all, " ", "") != strings.ReplaceAll(in, " ", "") {
			t.Errorf("of %d bytes %d came", len(in), len(all))
		}
	}
	for in, want := range map[string]string{
		"%PDF-1.7 …":                   "f.pdf:1: a PDF file",
		"words\nand \x00 zero":         "f.pdf:2: not a text",
		"words\nand \xff bytes":        "f.pdf:2: not UTF-8",
		"\xff\xfeH\x00i\x00":           "UTF-16",
		"\xd0\xcf\x11\xe0\xa1\xb1":     "old office document",
		"3/3/25, 7:02 PM - Rita: \xff": "f.pdf:1: not UTF-8",
	} {
		if _, err := Read(strings.NewReader(in), "f.pdf"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", in, err, want)
		}
	}
}

// Every form gives the same turn by turn as at once.
func TestStreamsEqualWholes(t *testing.T) {
	files, err := filepath.Glob("testdata/exports/*")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files: %v", len(files), err)
	}
	given := filepath.Join(t.TempDir(), "ids.jsonl")
	if err := os.WriteFile(given, []byte(`{"text":"a"}`+"\n"+`{"text":"b"}`+"\n"+`{"id":"1:2","text":"c"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range append(files, "testdata/slack", given) {
		whole, err := ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := stream(file); err != nil || !reflect.DeepEqual(got, whole) {
			t.Errorf("%s: %+v, %v\nwant %+v", file, got, err, whole)
		}
	}
}

// Wherever a file is cut, the reading ends with an error that names the file and a line of it, or with turns that were whole.
func TestCutFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/exports/*")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files: %v", len(files), err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all, err := Read(bytes.NewReader(data), file)
		if err != nil {
			t.Fatal(err)
		}
		lines := 1 + bytes.Count(data, []byte("\n"))
		text := filepath.Ext(file) == ".txt" || filepath.Ext(file) == ".md"
		for n := 0; n < len(data); n += 1 + len(data)/400 {
			got, err := Read(bytes.NewReader(data[:n]), file)
			var bad *LineError
			switch {
			case err == nil && !text && (filepath.Ext(file) == ".json" && len(bytes.TrimSpace(data[n:])) > 0):
				t.Errorf("%s cut at %d: no error", file, n)
			case err == nil && len(got.Turns) > len(all.Turns):
				t.Errorf("%s cut at %d: %d turns of %d", file, n, len(got.Turns), len(all.Turns))
			case err == nil || errors.Is(err, ErrNoTurns):
			case !errors.As(err, &bad) || bad.File != file || bad.Line < 1 || bad.Line > lines:
				t.Errorf("%s cut at %d: %v", file, n, err)
			}
		}
	}
}

// What follows a long list of messages is read, too; a short one is named by all fields, wherever they stand.
func TestFieldsAfterMessages(t *testing.T) {
	short := `{"messages": [{"role":"user","content":"Hi."}],` + "\n" + `"title": "Greetings"}`
	got, err := Read(strings.NewReader(short), "f")
	if err != nil || got.Turns[0].Session != "Greetings" {
		t.Errorf("%+v, %v", got, err)
	}
	long := telegram(10_000)
	long.end = `], "more": {"messages": [1]}}`
	got, err = Read(long, "f")
	if err != nil || len(got.Turns) != 10_000 || got.Form != "a Telegram export" {
		t.Errorf("%d turns, %q, %v", len(got.Turns), got.Form, err)
	}
	broken := telegram(10_000)
	broken.end = ",\n3]}"
	if _, err := Read(broken, "f"); err == nil || !strings.Contains(err.Error(), `f:10002: field "messages": want a list of messages`) {
		t.Errorf("a number among messages: %v", err)
	}
}

func TestOpenStream(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	if err := os.WriteFile(filepath.Join(os.TempDir(), "bmem-conversation-1"), []byte("left by a killed process"), 0o600); err != nil {
		t.Fatal(err)
	}
	left := func() []string {
		files, err := filepath.Glob(filepath.Join(os.TempDir(), "bmem-*"))
		if err != nil {
			t.Fatal(err)
		}
		return files
	}
	f, err := OpenStream(t.Context(), strings.NewReader("Some words.\n\nMore."), "standard input")
	if err != nil {
		t.Fatal(err)
	}
	if len(left()) != 1 {
		t.Errorf("kept: %v", left())
	}
	other, err := OpenStream(t.Context(), strings.NewReader("Others."), "another")
	if err != nil || len(left()) != 2 {
		t.Errorf("beside another: %v, %v", left(), err)
	}
	if err := other.Close(); err != nil {
		t.Error(err)
	}
	var turns []chunk.Turn
	for turn, err := range f.All() {
		if err != nil {
			t.Fatal(err)
		}
		turns = append(turns, turn)
	}
	if want := []chunk.Turn{{ID: "standard input:1", Session: "standard input", Text: "Some words."}, {ID: "standard input:2", Session: "standard input", Text: "More."}}; !slices.Equal(turns, want) {
		t.Errorf("%+v", turns)
	}
	if err := f.Close(); err != nil || len(left()) > 0 {
		t.Errorf("%v, left %v", err, left())
	}
	if _, err := OpenStream(t.Context(), strings.NewReader(`{"text": 3}`), "standard input"); err == nil || !strings.HasPrefix(err.Error(), "standard input:1:") || len(left()) > 0 {
		t.Errorf("%v, left %v", err, left())
	}
}

// What never comes does not keep a command from ending.
func TestOpenStreamEnds(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	r, w := io.Pipe()
	defer w.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := OpenStream(ctx, r, "nothing"); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}
