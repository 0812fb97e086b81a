package models

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestDamage(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	path := must(w.Pull(ctx, "big", nil)).Path
	must(w.Path(ctx, "big"))
	damaged := slices.Clone(bigData)
	damaged[7]++
	if err := os.WriteFile(path, damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	var wrong *HashError
	if _, err := w.Path(ctx, "big"); !errors.As(err, &wrong) || wrong.Got != sum(damaged) {
		t.Errorf("Path gives %v, want a HashError", err)
	}
	files, err := w.Verify(ctx, "big")
	if err != nil || len(files) != 1 || files[0].OK || files[0].Got != sum(damaged) || files[0].Want != sum(bigData) {
		t.Errorf("Verify gives %+v, %v", files, err)
	}
	if _, err := w.Pull(ctx, "big", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Path(ctx, "big"); err != nil {
		t.Errorf("after another pull: %v", err)
	}
}

// TestPathDoesNotHashAgain changes a file but keeps its size and time: Path trusts those, Verify does not.
func TestPathDoesNotHashAgain(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	path := must(w.Pull(ctx, "big", nil)).Path
	must(w.Path(ctx, "big"))
	info := must(os.Stat(path))
	damaged := slices.Clone(bigData)
	damaged[7]++
	if err := errors.Join(os.WriteFile(path, damaged, 0o600), os.Chtimes(path, info.ModTime(), info.ModTime())); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Path(ctx, "big"); err != nil {
		t.Errorf("Path hashed the file again: %v", err)
	}
	if files := must(w.Verify(ctx, "big")); files[0].OK {
		t.Error("Verify did not hash the file")
	}
	if _, err := w.Path(ctx, "big"); err == nil {
		t.Error("Path forgot what Verify found")
	}
}

func TestDefault(t *testing.T) {
	ctx := t.Context()
	t.Run("hub answers", func(t *testing.T) {
		w := newWorld(t)
		if m, _, err := w.Default(ctx); err != nil || m.Name != "solo" {
			t.Errorf("%s, %v; want solo", m.Name, err)
		}
		m, _, pulled, err := w.PullDefault(ctx, false, nil)
		if err != nil || m.Name != "solo" || pulled.Source != "Hugging Face" {
			t.Errorf("%s, %+v, %v", m.Name, pulled, err)
		}
	})
	t.Run("hub refuses", func(t *testing.T) {
		w := newWorld(t)
		w.handle = forbid
		m, reason, err := w.Default(ctx)
		if err != nil || m.Name != "big" || !strings.Contains(reason, "solo") || !strings.Contains(reason, "403") || !strings.Contains(reason, "big is made up") {
			t.Errorf("%s, %q, %v; want big, why not solo, and the warning", m.Name, reason, err)
		}
		if m, _, _, err = w.PullDefault(ctx, false, nil); err != nil || m.Name != "big" {
			t.Fatalf("%s, %v; want big", m.Name, err)
		}
		// Settled and present: nobody is asked, also by a later run and when the hub would answer.
		w.handle, w.hub, w.requests = w.serve, newHub(), nil
		for range 2 {
			if m, _, err := w.Default(ctx); err != nil || m.Name != "big" {
				t.Errorf("%s, %v; want big still", m.Name, err)
			}
			if m, _, _, err := w.PullDefault(ctx, false, nil); err != nil || m.Name != "big" {
				t.Errorf("%s, %v; want big still", m.Name, err)
			}
		}
		if len(w.requests) > 0 {
			t.Errorf("the hub was asked %d times", len(w.requests))
		}
		if m, _, _, err := w.PullDefault(ctx, true, nil); err != nil || m.Name != "solo" {
			t.Errorf("asked to choose anew: %s, %v; want solo", m.Name, err)
		}
	})
	t.Run("model gone", func(t *testing.T) {
		w := newWorld(t)
		_, _, pulled, err := w.PullDefault(ctx, false, nil)
		if err = errors.Join(err, os.Remove(pulled.Path)); err != nil {
			t.Fatal(err)
		}
		w.handle, w.hub = forbid, newHub()
		if m, _, err := w.Default(ctx); err != nil || m.Name != "big" {
			t.Errorf("%s, %v; want big", m.Name, err)
		}
	})
	t.Run("present without a choice", func(t *testing.T) {
		w := newWorld(t)
		w.handle = forbid
		must(w.Pull(ctx, "big", nil))
		w.requests, w.hub = nil, newHub()
		for range 3 {
			if m, _, err := w.Default(ctx); err != nil || m.Name != "big" {
				t.Fatalf("%s, %v; want big", m.Name, err)
			}
			w.hub = newHub() // a new run
		}
		if len(w.requests) != 1 {
			t.Errorf("the hub was asked %d times, want once", len(w.requests))
		}
	})
	t.Run("nothing", func(t *testing.T) {
		w := newWorld(t)
		w.handle, w.wheels = forbid, nil
		if _, _, _, err := w.PullDefault(ctx, false, nil); err == nil || !strings.Contains(err.Error(), "solo") || !strings.Contains(err.Error(), "big") {
			t.Errorf("got %v: want what was tried", err)
		}
	})
}

func TestFindSuggests(t *testing.T) {
	c := must(Open())
	for typed, want := range map[string]string{"smolm2": "smollm2-135m-instruct", "qwen2.5-codr-1.5b-instruct": "qwen2.5-coder-1.5b-instruct", "all-minilm": "all-minilm-l6-v2"} {
		if _, err := c.Find(typed); !errors.Is(err, errUnknown) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s suggested", typed, err, want)
		}
	}
}

func TestOpen(t *testing.T) {
	t.Setenv(EnvDir, filepath.Join(t.TempDir(), "m"))
	c := must(Open())
	if c.Dir != os.Getenv(EnvDir) {
		t.Errorf("folder %s", c.Dir)
	}
	for _, name := range []string{"all-minilm-l6-v2", "smollm2-135m-instruct", "qwen2.5-0.5b-instruct", "qwen2.5-coder-0.5b-instruct", "qwen2.5-coder-1.5b-instruct"} {
		if _, err := c.Find(name); err != nil {
			t.Error(err)
		}
	}
	if want := []string{"qwen2.5-0.5b-instruct", "qwen2.5-coder-0.5b-instruct", "smollm2-135m-instruct"}; !slices.Equal(c.answering, want) {
		t.Errorf("answering models %v, want %v", c.answering, want)
	}
}

func TestParseRejects(t *testing.T) {
	entry := func(change ...string) string {
		return strings.NewReplacer(change...).Replace(`
models:
  - name: m
    repo: o/m
    revision: r
    licence: MIT
    wheels: {w==1: ` + strings.Repeat("a", 64) + `}
    files:
      - {path: a.bin, sha256: ` + strings.Repeat("b", 64) + `, size: 10, parts: [{wheel: w==1, member: x, size: 4}, {wheel: w==1, member: y, size: 6}]}
`)
	}
	if _, err := parse([]byte(entry())); err != nil {
		t.Fatalf("the good entry: %v", err)
	}
	for name, bad := range map[string]string{
		"unknown field":      entry("licence:", "license:"),
		"no revision":        entry("revision: r", "revision: ''"),
		"name leaves folder": entry("name: m", "name: ../m"),
		"path leaves folder": entry("path: a.bin", "path: ../../a.bin"),
		"absolute path":      entry("path: a.bin", "path: /a.bin"),
		"short hash":         entry(strings.Repeat("b", 64), "bb"),
		"parts too short":    entry("size: 6", "size: 5"),
		"wheel without hash": entry("wheel: w==1, member: y", "wheel: w==2, member: y"),
		"unknown default":    "answering: [nobody]\n" + entry(),
	} {
		if _, err := parse([]byte(bad)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestLocate(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	if l, err := w.Locate(ctx, "some/folder/mine.GGUF"); err != nil || l != (Located{Name: "mine", Path: "some/folder/mine.GGUF"}) {
		t.Errorf("a file: %+v, %v", l, err)
	}
	if _, err := w.Locate(ctx, "big"); !errors.Is(err, ErrMissing) {
		t.Errorf("a model that is not here: %v", err)
	}
	if _, err := w.Pull(ctx, "big", nil); err != nil {
		t.Fatal(err)
	}
	if l, err := w.Locate(ctx, "big"); err != nil || l.Name != "big" || filepath.Base(l.Path) != "big.gguf" || l.Why != "" {
		t.Errorf("a model that is here: %+v, %v", l, err)
	}
	if _, _, _, err := w.PullDefault(ctx, false, nil); err != nil {
		t.Fatal(err)
	}
	if l, err := w.Locate(ctx, ""); err != nil || l.Name != "solo" || l.Why == "" {
		t.Errorf("the default: %+v, %v", l, err)
	}
}
