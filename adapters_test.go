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

// The shipped adapters fit the catalogue's models and this version's prompt, are made from examples that are shipped with one of them, name
// these examples' licences, and stay small.
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
	examples := shippedExamples(t)
	licences := map[string]string{"locomo": "CC-BY-NC-4.0", "hotpotqa": "CC-BY-NC-4.0 AND CC-BY-SA-4.0"} // the latter go on from the former
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
		set, _, _ := strings.Cut(filepath.Base(dir), "-")
		if a.Info.License != licences[set] || !strings.Contains(string(list), "`"+filepath.Base(dir)+"`") {
			t.Errorf("%s has the licence %q, and adapters/README.md should list it", dir, a.Info.License)
		}
		if want := map[string]int{"locomo": 1, "hotpotqa": 2}[set]; len(a.Info.Data) != want {
			t.Errorf("%s was made from %d files of examples, want %d", dir, len(a.Info.Data), want)
		}
		for _, d := range a.Info.Data {
			if examples[d.SHA256] != d.Examples {
				t.Errorf("%s was made from %+v, which no adapter has beside it", dir, d)
			}
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

// shippedExamples has the number of examples of each file beside an adapter, by the SHA-256 of what is in it.
func shippedExamples(t *testing.T) map[string]int {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("adapters", "*", "examples.jsonl.gz"))
	if err != nil || len(files) == 0 {
		t.Fatalf("examples: %v, %v", files, err)
	}
	out := map[string]int{}
	for _, file := range files {
		lines, sum := linesAndHash(t, file)
		out[sum] = lines
	}
	return out
}

// linesAndHash counts the lines of a gzipped file, and hashes what is in it.
func linesAndHash(t *testing.T, path string) (lines int, sum string) {
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
