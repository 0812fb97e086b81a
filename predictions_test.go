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

	"github.com/budgetmem/budgetmem/datasets"
	"github.com/budgetmem/budgetmem/datasets/score"
	"github.com/budgetmem/budgetmem/experiments/stats"
	"github.com/budgetmem/budgetmem/router"
	"github.com/budgetmem/budgetmem/tune"
)

const predictionsPage = "docs/results/tuning.md"

// The tables of readers are made from their committed predictions, which are scored again. The files of a data set's split are
// compared with each other; those of a reader that was given the evidence itself end in "-gold".
func TestPredictions(t *testing.T) {
	files, err := filepath.Glob("docs/results/predictions/*.jsonl.gz")
	if err != nil || len(files) == 0 {
		t.Fatalf("no predictions (%v)", err)
	}
	groups, metrics := map[string][]reading{}, map[string]score.Metric{}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".jsonl.gz")
		parts := strings.SplitN(name, "-", 3)
		metric, ok := metrics[parts[0]]
		if !ok {
			metric = metricOf(t, parts[0])
			metrics[parts[0]] = metric
		}
		r := reading{name: name, answers: predictions(t, file, metric)}
		groups[parts[0]+"-"+parts[1]] = append(groups[parts[0]+"-"+parts[1]], r)
	}
	for name, group := range groups {
		slices.SortFunc(group, func(a, b reading) int { return strings.Compare(a.name, b.name) })
		var b bytes.Buffer
		writeReaders(t, &b, group)
		writePairs(&b, group)
		writeLosses(t, &b, group)
		checkTable(t, predictionsPage, fmt.Sprintf("<!-- predictions of %s: written by go test . -run Predictions -update -->\n", name),
			"<!-- end of the predictions of "+name+" -->\n", b.String())
	}
}

// reading is what one reader answered, by question.
type reading struct {
	name    string
	answers map[string]tune.Prediction
}

// fromGold says that the reader was given the evidence itself.
func (r reading) fromGold() bool { return strings.HasSuffix(r.name, "-gold") }

// writeReaders writes a row for each reader and category, and the best of the answers from notes.
func writeReaders(t *testing.T, w io.Writer, group []reading) {
	fmt.Fprint(w, "| reader | category | n | score | 95 % | against the first | 95 % | µ$/question |\n|---|---|---|---|---|---|---|---|\n")
	first := group[0].answers
	best := maps.Clone(first)
	for _, r := range group {
		writeReader(t, w, r.name, r.answers, first)
		for id, p := range r.answers {
			if !r.fromGold() && p.Score > best[id].Score {
				best[id] = p
			}
		}
	}
	writeReader(t, w, "best answer of these, known afterwards", best, first)
}

// writePairs writes each reader against each other one.
func writePairs(w io.Writer, group []reading) {
	fmt.Fprint(w, "\n| reader | against | n | difference | 95 % | price over the other's |\n|---|---|---|---|---|---|\n")
	for i, r := range group {
		for _, other := range group[:i] {
			writePair(w, r.name, other.name, r.answers, other.answers)
		}
	}
}

// writeLosses says for each reader where score is lost: how much of the evidence was retrieved and quoted, and what the reader
// made of notes with all, a part and none of it, and of the evidence alone.
func writeLosses(t *testing.T, w io.Writer, group []reading) {
	byName := map[string]map[string]tune.Prediction{}
	for _, r := range group {
		byName[r.name] = r.answers
	}
	header := "\n| reader | category | n | evidence retrieved | quoted | score where all is quoted | a part | none | score from the evidence alone | where all is quoted |\n|---|---|---|---|---|---|---|---|---|---|\n"
	for _, r := range group {
		byCategory := map[string][]string{}
		for id, p := range r.answers {
			if p.Evidence != nil {
				byCategory["all"], byCategory[p.Category] = append(byCategory["all"], id), append(byCategory[p.Category], id)
			}
		}
		if r.fromGold() || len(byCategory) == 0 {
			continue
		}
		fmt.Fprint(w, header)
		header = ""
		for _, category := range slices.Sorted(maps.Keys(byCategory)) {
			var retrieved, quoted float64
			parts := make([][]float64, 5) // scores where all, a part and none of the evidence is quoted; from it alone, and that where all is quoted
			ids := byCategory[category]
			for _, id := range ids {
				p := r.answers[id]
				retrieved, quoted = retrieved+p.Evidence.Retrieved, quoted+p.Evidence.Quoted
				switch p.Evidence.Quoted {
				case 1:
					parts[0] = append(parts[0], p.Score)
				case 0:
					parts[2] = append(parts[2], p.Score)
				default:
					parts[1] = append(parts[1], p.Score)
				}
				if from, ok := byName[r.name+"-gold"]; !ok {
					continue
				} else if q, ok := from[id]; ok {
					parts[3] = append(parts[3], q.Score)
					if p.Evidence.Quoted == 1 {
						parts[4] = append(parts[4], q.Score)
					}
				} else {
					t.Fatalf("%s was not asked %s from the evidence", r.name, id)
				}
			}
			n := float64(len(ids))
			fmt.Fprintf(w, "| %s | %s | %d | %.3f | %.3f |", r.name, category, len(ids), retrieved/n, quoted/n)
			for _, scores := range parts {
				if len(scores) == 0 {
					fmt.Fprint(w, " – |")
				} else {
					fmt.Fprintf(w, " %.3f (%d) |", stats.Mean(scores), len(scores))
				}
			}
			fmt.Fprintln(w)
		}
	}
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

// metricOf is the metric of a data set, whose files are hashed for it.
func metricOf(t *testing.T, dataset string) score.Metric {
	t.Helper()
	about, err := datasets.Describe(dataset, datasets.Options{})
	if err != nil {
		t.Fatal(err)
	}
	metric, err := score.Lookup(about.Metric)
	if err != nil {
		t.Fatal(err)
	}
	return metric
}

// predictions reads a file. Each prediction is scored again, which must give the score that the file has.
func predictions(t *testing.T, file string, metric score.Metric) map[string]tune.Prediction {
	t.Helper()
	z := unzipped(t, file)
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
	var both []string
	for _, id := range slices.Sorted(maps.Keys(a)) {
		if _, ok := b[id]; ok {
			both = append(both, id)
		}
	}
	outcomes := func(answers map[string]tune.Prediction) func(string) router.Outcome {
		return func(id string) router.Outcome {
			return router.Outcome{Score: answers[id].Score, Dollars: answers[id].Dollars}
		}
	}
	p := pair(both, outcomes(a), outcomes(b))
	d := p.difference
	fmt.Fprintf(w, "| %s | %s | %d | %+.3f | [%+.3f, %+.3f] | %.2f |\n", name, other, d.N, d.Mean, d.Low, d.High, p.price)
}

// paired compares two outcomes of each question.
type paired struct {
	here, there float64 // mean scores
	difference  stats.Interval
	price       float64 // over the other's
}

// pair compares the outcomes a and b of the questions ids.
func pair(ids []string, a, b func(id string) router.Outcome) paired {
	var here, there, differences []float64
	var dollars [2]float64
	for _, id := range ids {
		x, y := a(id), b(id)
		here, there, differences = append(here, x.Score), append(there, y.Score), append(differences, x.Score-y.Score)
		dollars[0], dollars[1] = dollars[0]+x.Dollars, dollars[1]+y.Dollars
	}
	return paired{stats.Mean(here), stats.Mean(there), stats.Bootstrap(differences, 42), dollars[0] / dollars[1]}
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
