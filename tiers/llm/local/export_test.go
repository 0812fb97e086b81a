package local

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/gomlx/go-huggingface/models/gguf"

	"github.com/budgetmem/budgetmem/internal/backend"
	"github.com/budgetmem/budgetmem/internal/filehash"
	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/local/adapter"
	"github.com/budgetmem/budgetmem/tiers/llm/local/localtest"
)

// An exported model scores as the model with its adapter does, up to float16. Everything else in the file is the base model's.
func TestExport(t *testing.T) {
	be, err := backend.Open("go", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer be.Finalize()
	score := func(path, adapter string) float64 {
		t.Helper()
		m, err := Open(path, be, Options{Adapter: adapter})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		s, _, err := m.Score(t.Context(), []llm.ScoreRequest{{Messages: []llm.Message{{Role: llm.User, Content: "Where is Ann?"}}, Continuation: "In Rome."}})
		if err != nil {
			t.Fatal(err)
		}
		return s[0].LogProb
	}
	for _, family := range []string{"llama", "qwen2"} {
		path := localtest.Tiny(t, family, 1)
		_, cfg := header(t, path)
		dir := strong(t, cfg, must(filehash.SHA256(path)))
		out := filepath.Join(t.TempDir(), "merged.gguf")
		done, all := 0, 0
		if err := Export(t.Context(), path, dir, out, func(d, a int) { done, all = d, a }); err != nil {
			t.Fatal(err)
		}
		plain, tuned, merged := score(path, ""), score(path, dir), score(out, "")
		if math.Abs(merged-tuned) > 1e-3*math.Abs(tuned) || math.Abs(plain-tuned) < 0.5 {
			t.Errorf("%s: log-probability %v, with the adapter %v, merged %v", family, plain, tuned, merged)
		}
		from, to := must(gguf.Open(path)), must(gguf.Open(out))
		if done == 0 || done != all || all != len(from.TensorInfos) {
			t.Errorf("%s: progress ended at %d of %d", family, done, all)
		}
		if n := len(from.KeyValues); len(to.KeyValues) != n+4 || !reflect.DeepEqual(to.KeyValues[:n], from.KeyValues) {
			t.Errorf("%s: metadata %v", family, to.KeyValues)
		}
		halves := 0
		old, now := must(gguf.NewReader(from)), must(gguf.NewReader(to))
		for _, info := range from.TensorInfos {
			got, is, err := now.ReadTensorRaw(info.Name)
			if err != nil {
				t.Fatal(err)
			}
			if is.Type == gguf.TensorTypeF16 {
				halves++
			} else if want, _, err := old.ReadTensorRaw(info.Name); err != nil || !reflect.DeepEqual(got, want) || !reflect.DeepEqual(is.Shape, info.Shape) {
				t.Errorf("%s: tensor %s changed (%v)", family, info.Name, err)
			}
		}
		if err := errors.Join(old.Close(), now.Close()); err != nil {
			t.Fatal(err)
		}
		if halves != 3 {
			t.Errorf("%s: %d matrices were merged, want 3", family, halves)
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// What cannot be exported leaves the file at the place as it was.
func TestExportRefuses(t *testing.T) {
	path := localtest.Tiny(t, "qwen2", 1)
	_, cfg := header(t, path)
	ended, end := context.WithCancel(t.Context())
	end()
	for name, c := range map[string]struct {
		ctx  context.Context
		dir  string
		want error
	}{
		"another base": {t.Context(), strong(t, cfg, "of another file"), ErrAdapter},
		"no adapter":   {t.Context(), t.TempDir(), os.ErrNotExist},
		"ended":        {ended, strong(t, cfg, ""), context.Canceled},
	} {
		dir := t.TempDir()
		out := filepath.Join(dir, "out.gguf")
		if err := os.WriteFile(out, []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := Export(c.ctx, path, c.dir, out, nil); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if data, err := os.ReadFile(out); err != nil || string(data) != "old" {
			t.Errorf("%s: the old file is %q, %v", name, data, err)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
			t.Errorf("%s: left behind: %v, %v", name, entries, err)
		}
	}
	if err := Export(t.Context(), path, t.TempDir(), path, nil); !errors.Is(err, os.ErrNotExist) || errors.Is(err, adapter.ErrFormat) {
		t.Error(err)
	}
}
