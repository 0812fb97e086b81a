package datasets

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// write makes a data set of files and returns its folder.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "mine")
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const (
	rita = `{"session":"1","speaker":"Rita","text":"We meet at the old mill."}` + "\n"
	omar = "3/3/25, 7:02 PM - Omar: I broke my wrist\n"
)

func TestOwnDataSet(t *testing.T) {
	dir := write(t, map[string]string{
		"memories/rita.jsonl": rita, "memories/omar.txt": omar, "memories/.hidden": "x",
		"questions.jsonl": `{"memory":"rita","question":"Where?","answer":"the old mill","evidence":["1:1"],"split":"train"}
{"id":"w","memory":"omar","question":"What broke?","answers":["wrist","the wrist"],"category":"fact","date":"4 March 2025","split":"test"}
{"memory":"omar","question":"How many?","answer":1,"split":"validation"}`,
		"mine.yaml": "name: hospital\nmetric: exact\nchunk_tokens: 64\nlicence: CC0\n",
	})
	d, err := Open(filepath.Join(dir, "mine.yaml"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if d.Name() != "hospital" || d.Metric() != "exact" || d.ChunkTokens() != 64 || len(d.Hash()) != 64 {
		t.Errorf("%s, %s, %d, %s", d.Name(), d.Metric(), d.ChunkTokens(), d.Hash())
	}
	train, err := d.Questions(t.Context(), Train)
	if err != nil || len(train) != 1 || train[0].ID != "q0001" || !slices.Equal(train[0].Evidence, []string{"1:1"}) || train[0].EvidenceSessions[0] != "1" || train[0].Category != "all" {
		t.Errorf("train %+v, %v", train, err)
	}
	asked, err := d.Test(t.Context())
	if err != nil || len(asked) != 1 || asked[0].ID != "w" || len(asked[0].Gold) != 2 || asked[0].Date != "4 March 2025" {
		t.Errorf("test %+v, %v", asked, err)
	}
	validation, err := d.Questions(t.Context(), Validation)
	if err != nil || len(validation) != 1 || validation[0].Gold[0] != "1" {
		t.Errorf("validation %+v, %v", validation, err)
	}
	if h, err := d.History(t.Context(), "omar"); err != nil || len(h.Turns) != 1 || h.Turns[0].Speaker != "Omar" {
		t.Errorf("%+v, %v", h, err)
	}
	if _, err := d.History(t.Context(), "nobody"); !errors.Is(err, ErrUnknown) {
		t.Errorf("an unknown history: %v", err)
	}
	if _, err := Verify(t.Context(), filepath.Join(dir, "mine.yaml"), Options{}); err != nil {
		t.Error(err)
	}
}

// A question stays in its split when others are added, and the hash tells one state of the data from another.
func TestOwnSplitsAreStable(t *testing.T) {
	questions := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `{"id":"%d","question":"Where?","answer":"the old mill"}`+"\n", i)
		}
		return b.String()
	}
	open := func(n int) *dataset {
		d, err := openDataset(write(t, map[string]string{"memories/rita.jsonl": rita, "questions.jsonl": questions(n)}), Options{})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	few, many := open(30), open(1000)
	for _, split := range splits {
		for _, id := range few.order[split] {
			if !slices.Contains(many.order[split], id) {
				t.Errorf("question %s left the %s split", id, split)
			}
		}
	}
	if n := len(many.order[Train]); n < 560 || n > 640 {
		t.Errorf("%d of 1000 questions to train on, want about 600", n)
	}
	if again := open(30); again.hash != few.hash || few.hash == many.hash {
		t.Error("the hash is not that of the data")
	}
}

func TestOwnDataSetNamesTheFault(t *testing.T) {
	good := `{"question":"Where?","answer":"the old mill"}` + "\n"
	for want, files := range map[string]map[string]string{
		`record 2: field "answer" is missing`:         {"questions.jsonl": good + `{"question":"Who?"}`},
		`record 1: field "question" is missing`:       {"questions.jsonl": `{"answer":"x"}`},
		`no file in`:                                  {"questions.jsonl": `{"memory":"x","question":"Who?","answer":"x"}`},
		`is the id of a question before it`:           {"questions.jsonl": `{"id":"a","question":"Who?","answer":"x"}{"id":"a","question":"Who?","answer":"x"}`},
		`has no turn "7:7"`:                           {"questions.jsonl": `{"question":"Who?","answer":"x","evidence":["7:7"]}`},
		`field "split" is "dev"`:                      {"questions.jsonl": `{"question":"Who?","answer":"x","split":"dev"}`},
		`1 of 2 questions have a field "split"`:       {"questions.jsonl": good + `{"question":"Who?","answer":"x","split":"test"}`},
		`unknown field "queston"`:                     {"questions.jsonl": `{"queston":"Who?","answer":"x"}`},
		`the questions`:                               {},
		`field "metric": unknown metric "f2"`:         {"questions.jsonl": good, ConfigFile: "metric: f2"},
		`field "chunk_tokens" is 4000`:                {"questions.jsonl": good, ConfigFile: "chunk_tokens: 4000"},
		`the shares add up to 0.9`:                    {"questions.jsonl": good, ConfigFile: "splits: {train: 0.9}"},
		`"locomo" is a benchmark's`:                   {"questions.jsonl": good, ConfigFile: "name: locomo"},
		`unknown field "metrik"`:                      {"questions.jsonl": good, ConfigFile: "metrik: exact"},
		`another conversation there is called "rita"`: {"questions.jsonl": good, "memories/rita.txt": omar},
		`memories/bad.jsonl:1`:                        {"questions.jsonl": good, "memories/bad.jsonl": "{}"},
	} {
		all := map[string]string{"memories/rita.jsonl": rita}
		for name, text := range files {
			all[name] = text
		}
		if _, err := Open(write(t, all), Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: error %v, want %q", files, err, want)
		}
	}
	d, err := Open(write(t, map[string]string{"memories/rita.jsonl": rita, "questions.jsonl": `{"question":"Where?","answer":"x","split":"train"}`}), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Test(t.Context()); err == nil || !strings.Contains(err.Error(), `mine: no question is in its test split (train 1, validation 0, test 0); put one there by its field "split"`) {
		t.Errorf("an empty split: %v", err)
	}
}

// A hash may leave a split empty: that is said by Verify, with what to do.
func TestOwnSplitWithoutQuestions(t *testing.T) {
	dir := write(t, map[string]string{"memories/rita.jsonl": rita, "questions.jsonl": strings.Repeat(`{"question":"Where?","answer":"the old mill"}`+"\n", 3)})
	reports, err := Verify(t.Context(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, r := range reports {
		if (r.Questions == 0) != (r.Warning != "") {
			t.Errorf("%+v", r)
		}
		if n += r.Questions; r.Warning != "" && !strings.Contains(r.Warning, `as a hash of each question's memory and id put them; choose for yourself by a field "split" in every line of`) {
			t.Error(r.Warning)
		}
	}
	if n != 3 || !slices.ContainsFunc(reports, func(r Report) bool { return r.Questions == 0 }) {
		t.Errorf("of three questions of rita a split has none: %+v", reports)
	}
}

func TestQuickstart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "mine")
	files, err := Quickstart(dir)
	if err != nil || len(files) != 4 {
		t.Fatalf("%q, %v", files, err)
	}
	reports, err := Verify(t.Context(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range reports {
		if r.Questions < 5 || r.NoEvidence > 0 {
			t.Errorf("%+v", r)
		}
	}
	if _, err := Quickstart(dir); err == nil {
		t.Error("a folder with something in it was taken")
	}
}

func FuzzOwnQuestions(f *testing.F) {
	f.Add(`{"question":"Where?","answer":["a",2],"evidence":["1:1"],"split":"test"}`)
	f.Add(`[{"question":"Where?","answers":"a"}]`)
	f.Fuzz(func(t *testing.T, text string) {
		d, err := openDataset(write(t, map[string]string{"memories/rita.jsonl": rita, "questions.jsonl": text}), Options{})
		if err != nil {
			return
		}
		n := 0
		for _, split := range splits {
			for _, q := range d.loaded[split].questions {
				if n++; q.Text == "" || len(q.Gold) == 0 || q.History != "rita" {
					t.Errorf("%+v", q)
				}
			}
		}
	})
}
