package datasets

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/budgetmem/budgetmem/datasets/score"
)

// go test ./datasets -run TestSplitIndex -update writes the split indexes and files/SHA256SUMS anew.
var update = flag.Bool("update", false, "rewrite the split indexes and the hash list")

// The indexes are committed, and the rules they were made by are here.
func TestSplitIndex(t *testing.T) {
	indexes := map[string]map[Split][]string{
		locomoSpec.index:             locomoSplits(t, (*locomoConversation).questions),
		locomoUnanswerableSpec.index: locomoSplits(t, (*locomoConversation).unanswerable),
		longMemEvalSpec.index:        longMemEvalSplits(t),
		hotpotSpec.index:             hotpotSplits(t),
	}
	for path, want := range indexes {
		text, err := json.MarshalIndent(want, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, '\n')
		if *update {
			if err := os.WriteFile("files/"+path, text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile("files/" + path)
		if err != nil || !bytes.Equal(got, text) {
			t.Errorf("%s is not what the rule gives (%v)", path, err)
		}
	}
	if *update {
		writeSums(t)
	}
}

// writeSums lists the hash of every data file and index, and keeps the ones of files that are not shipped.
func writeSums(t *testing.T) {
	kept := externalSums
	err := fs.WalkDir(os.DirFS("files"), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !slices.Contains([]string{".gz", ".xz", ".json"}, filepath.Ext(path)) {
			return err
		}
		data, err := os.ReadFile("files/" + path)
		kept += fmt.Sprintf("%x  %s\n", sha256.Sum256(data), path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("files/SHA256SUMS", []byte(kept), 0o644); err != nil {
		t.Fatal(err)
	}
}

// The hashes of the LongMemEval-S files that are not shipped, as the splits were made on them.
const externalSums = `c5588eace20f76906149878472da361a94b576500f0faf0b85ab226ae19b9434  longmemeval/longmemeval_s_train.jsonl.xz
3146e610079107c6461addb3302790e6139e949e2b9631de560118898bb2f7c5  longmemeval/longmemeval_s_val.jsonl.xz
`

// locomoSplits: conversations 0–5, 6–7 and 8–9, in training order.
func locomoSplits(t *testing.T, questions func(*locomoConversation, History) []Question) map[Split][]string {
	byCategory := map[Split]map[string][]string{Train: {}, Validation: {}, test: {}}
	n := 0
	err := load(t.Context(), locomoFile, Options{}, func(c *locomoConversation) error {
		split := []Split{Train, Train, Train, Train, Train, Train, Validation, Validation, test, test}[n]
		n++
		for _, q := range questions(c, c.history()) {
			byCategory[split][q.Category] = append(byCategory[split][q.Category], q.ID)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	out := map[Split][]string{}
	for split, ids := range byCategory {
		out[split] = roundRobin(ids, score.LoCoMoCategories[:])
	}
	return out
}

// roundRobin takes one id of each category in turn, shuffled within each by seed 42, so that every start of the list is
// spread over the categories as evenly as they last.
func roundRobin(byCategory map[string][]string, categories []string) []string {
	random := rand.New(rand.NewPCG(42, 0))
	longest := 0
	for _, c := range categories {
		ids := byCategory[c]
		random.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
		longest = max(longest, len(ids))
	}
	var out []string
	for i := range longest {
		for _, c := range categories {
			if i < len(byCategory[c]) {
				out = append(out, byCategory[c][i])
			}
		}
	}
	return out
}

// longMemEvalSplits: the authors' split of LongMemEval-S by list position, given as ids, in training order.
func longMemEvalSplits(t *testing.T) map[Split][]string {
	text, err := os.ReadFile("testdata/longmemeval_positions.json")
	if err != nil {
		t.Fatal(err)
	}
	var split struct {
		Order            []string
		Train, Val, Test []int
		Absent           []string
	}
	if err := json.Unmarshal(text, &split); err != nil {
		t.Fatal(err)
	}
	category := map[string]string{}
	err = load(t.Context(), oracleSpec.sources(test)[0], Options{}, func(r *longMemEvalRecord) error {
		category[r.ID] = r.Type
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	out := map[Split][]string{}
	for name, positions := range map[Split][]int{Train: split.Train, Validation: split.Val, test: split.Test} {
		byCategory := map[string][]string{}
		for _, p := range positions {
			if id := split.Order[p]; !slices.Contains(split.Absent, id) {
				byCategory[category[id]] = append(byCategory[category[id]], id)
			}
		}
		out[name] = roundRobin(byCategory, longMemEvalTypes)
	}
	return out
}

// hotpotSplits: all training questions we hold, dev 200–499 and dev 0–199, in file order.
func hotpotSplits(t *testing.T) map[Split][]string {
	ids := func(split Split) (out []string) {
		all := func(string) bool { return true }
		err := readHotpot(t.Context(), Options{}, hotpotFiles(split)[0], all, func(r *hotpotRecord) { out = append(out, r.ID) })
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	dev := ids(test)
	return map[Split][]string{Train: ids(Train), Validation: dev[200:], test: dev[:200]}
}
