package budgetmem

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/internal/models"
	"github.com/budgetmem/budgetmem/tiers"
	"github.com/budgetmem/budgetmem/tiers/llm/local/adapter"
)

// The shipped adapters fit the catalogue's models and this version's prompt, come with the examples that they were made from, name a
// licence, and stay small.
func TestShippedAdapters(t *testing.T) {
	catalogue, err := models.Open()
	if err != nil {
		t.Fatal(err)
	}
	folders, err := filepath.Glob(filepath.Join("adapters", "*", adapter.ConfigFile))
	if err != nil || len(folders) == 0 {
		t.Fatalf("adapters: %v, %v", folders, err)
	}
	list, err := os.ReadFile(filepath.Join("adapters", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	var size int64
	for _, config := range folders {
		dir := filepath.Dir(config)
		a, err := adapter.Read(dir)
		if err != nil {
			t.Fatal(err)
		}
		m, err := catalogue.Find(a.Info.Base)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(m.Files, func(f models.File) bool { return f.SHA256 == a.Info.BaseSHA256 }) {
			t.Errorf("%s was made for another file of %s", dir, m.Name)
		}
		if now, err := tiers.TunedHash(a.Info.Template); err != nil || now != a.Info.TemplateHash {
			t.Errorf("%s was made for another prompt: %v", dir, err)
		}
		if a.Info.License != "CC-BY-NC-4.0" || !strings.Contains(string(list), "`"+filepath.Base(dir)+"`") {
			t.Errorf("%s has the licence %q, and adapters/README.md should list it", dir, a.Info.License)
		}
		lines, sum := examples(t, filepath.Join(dir, "examples.jsonl.gz"))
		if len(a.Info.Data) != 1 || a.Info.Data[0].SHA256 != sum || a.Info.Data[0].Examples != lines {
			t.Errorf("%s was made from %+v, beside it are %d examples with SHA-256 %s", dir, a.Info.Data, lines, sum)
		}
		info, err := os.Stat(filepath.Join(dir, adapter.WeightsFile))
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	if size > 40<<20 {
		t.Errorf("the adapters take %d bytes together", size)
	}
}

// examples counts the lines of a gzipped file, and hashes what is in it.
func examples(t *testing.T, path string) (lines int, sum string) {
	t.Helper()
	h := sha256.New()
	s := bufio.NewScanner(io.TeeReader(unzipped(t, path), h))
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		lines++
	}
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	return lines, hex.EncodeToString(h.Sum(nil))
}
