package budgetmem

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/datasets/score"
	"github.com/budgetmem/budgetmem/experiments/stats"
	"github.com/budgetmem/budgetmem/tune"
)

const (
	predictionsPage  = "docs/results/tuning.md"
	predictionsBegin = "<!-- predictions: written by go test . -run Predictions -update -->\n"
	predictionsEnd   = "<!-- end of the predictions -->\n"
)

// The table of readers is made from their committed predictions, which are scored again.
func TestPredictions(t *testing.T) {
	files, err := filepath.Glob("docs/results/predictions/*.jsonl.gz")
	if err != nil || len(files) == 0 {
		t.Fatalf("no predictions (%v)", err)
	}
	reader := func(file string) string { return strings.TrimSuffix(filepath.Base(file), ".jsonl.gz") }
	slices.SortFunc(files, func(a, b string) int { return strings.Compare(reader(a), reader(b)) })
	var b bytes.Buffer
	b.WriteString("| reader | category | n | score | 95 % | against the first | 95 % | µ$/question |\n|---|---|---|---|---|---|---|---|\n")
	first := predictions(t, files[0])
	best := maps.Clone(first)
	for _, file := range files {
		got := predictions(t, file)
		writeReader(t, &b, reader(file), got, first)
		for id, p := range got {
			if p.Score > best[id].Score {
				best[id] = p
			}
		}
	}
	writeReader(t, &b, "best answer of these, known afterwards", best, first)
	b.WriteString("\n| reader | against | n | difference | 95 % | price over the other's |\n|---|---|---|---|---|---|\n")
	for i, file := range files {
		for _, other := range files[:i] {
			writePair(&b, reader(file), reader(other), predictions(t, file), predictions(t, other))
		}
	}
	checkTable(t, predictionsPage, predictionsBegin, predictionsEnd, b.String())
}

// unzipped opens a gzipped file.
func unzipped(t *testing.T, file string) io.Reader {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// predictions reads a file. Each prediction is scored again, which must give the score that the file has.
func predictions(t *testing.T, file string) map[string]tune.Prediction {
	t.Helper()
	z := unzipped(t, file)
	dataset, _, _ := strings.Cut(filepath.Base(file), "-")
	metric, err := score.Lookup(dataset)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]tune.Prediction{}
	for in := json.NewDecoder(z); ; {
		var p tune.Prediction
		if err := in.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		r, err := metric.Score(score.Item{Prediction: p.Prediction, Gold: []string{p.Gold}, Category: p.Category})
		if err != nil || math.Abs(r.Score-p.Score) > 1e-9 {
			t.Errorf("%s: %s scores %v (%v), the file says %v", file, p.ID, r.Score, err, p.Score)
		}
		out[p.ID] = p
	}
	return out
}

// writePair writes the difference of two readers' scores on the questions that both were asked.
func writePair(w io.Writer, name, other string, a, b map[string]tune.Prediction) {
	var differences []float64
	var dollars [2]float64
	for _, id := range slices.Sorted(maps.Keys(a)) {
		if p, ok := b[id]; ok {
			differences = append(differences, a[id].Score-p.Score)
			dollars[0], dollars[1] = dollars[0]+a[id].Dollars, dollars[1]+p.Dollars
		}
	}
	d := stats.Bootstrap(differences, 42)
	fmt.Fprintf(w, "| %s | %s | %d | %+.3f | [%+.3f, %+.3f] | %.2f |\n", name, other, d.N, d.Mean, d.Low, d.High, dollars[0]/dollars[1])
}

// writeReader writes a row for all questions, and one for each category. Differences are to the reader first, on the same
// questions.
func writeReader(t *testing.T, w io.Writer, name string, got, first map[string]tune.Prediction) {
	t.Helper()
	byCategory := map[string][]string{}
	var all []string
	for _, id := range slices.Sorted(maps.Keys(got)) {
		all = append(all, id)
		byCategory[got[id].Category] = append(byCategory[got[id].Category], id)
	}
	row := func(category string, ids []string) {
		var scores, differences []float64
		dollars := 0.0
		for _, id := range ids {
			other, ok := first[id]
			if !ok {
				t.Fatalf("%s: the first reader was not asked %s", name, id)
			}
			scores = append(scores, got[id].Score)
			differences = append(differences, got[id].Score-other.Score)
			dollars += got[id].Dollars / float64(len(ids))
		}
		s, d := stats.Bootstrap(scores, 42), stats.Bootstrap(differences, 42)
		fmt.Fprintf(w, "| %s | %s | %d | %.3f | [%.3f, %.3f] | %+.3f | [%+.3f, %+.3f] | %.3g |\n", name, category, len(ids), s.Mean, s.Low, s.High, d.Mean, d.Low, d.High, dollars*1e6)
	}
	row("all", all)
	for _, category := range slices.Sorted(maps.Keys(byCategory)) {
		row(category, byCategory[category])
	}
}

// The table of the reranker is made from what `bmem tune reranker` wrote as validation.json.
func TestReranker(t *testing.T) {
	data, err := os.ReadFile("docs/results/reranker-locomo.json")
	if err != nil {
		t.Fatal(err)
	}
	var rows []struct {
		Dataset                         string
		Questions, Turns                int
		Retrieval, Reranked, Difference stats.Interval
	}
	if err := json.Unmarshal(data, &rows); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	b.WriteString("| data set | questions | turns | retrieval | reranked | difference | 95 % |\n|---|---|---|---|---|---|---|\n")
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s | %d | %d | %.3f | %.3f | %+.3f | [%+.3f, %+.3f] |\n", r.Dataset, r.Questions, r.Turns, r.Retrieval.Mean, r.Reranked.Mean, r.Difference.Mean, r.Difference.Low, r.Difference.High)
	}
	checkTable(t, predictionsPage, "<!-- reranker: written by go test . -run Reranker -update -->\n", "<!-- end of the reranker -->", b.String())
}
