package retrieve

import (
	"database/sql"
	"encoding/json"
	"errors"
	"maps"
	"math"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/tiers/text"
)

func TestDateParts(t *testing.T) {
	for text, want := range map[string]string{
		"1:56 pm on 8 May, 2023":               "d8 m5 y2023",
		"2023/05/20 (Sat) 02:21":               "d20 m5 y2023",
		"2023-05-07":                           "d7 m5 y2023",
		"What happened on July 3rd?":           "d3 m7",
		"the 2nd of January 1999":              "d2 m1 y1999",
		"during September, or in Oct 2022":     "m10 m9 y2022",
		"You may march on at 10, it may be 12": "",
		"What did they decide in the summer?":  "",
		"last December":                        "m12",
		"99999999999999999999 may 99":          "d99 m5", // no such day; it will match none
		"":                                     "",
	} {
		if got := strings.Join(slices.Sorted(maps.Keys(dateParts(text))), " "); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

// TestBM25EqualsSQLite compares our BM25 with that of SQLite's FTS5, which is written from the same formula by others: the ranks of
// texts must agree, and the scores up to FTS5's own IDF.
func TestBM25EqualsSQLite(t *testing.T) {
	texts := []string{"red apple pie", "green apple", "yellow banana bread with walnuts", "red brick house", "apple apple apple tart", "lemon cake"}
	db, err := sql.Open("sqlite", filepath.Join(t.TempDir(), "fts.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("CREATE VIRTUAL TABLE t USING fts5 (body, tokenize='porter unicode61')"); err != nil {
		t.Fatal(err)
	}
	v := newVocabulary(text.English)
	var ids [][]int32
	for i, s := range texts {
		if _, err := db.Exec("INSERT INTO t (rowid, body) VALUES (?, ?)", i, s); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, nil)
		for _, w := range text.Words(s) {
			ids[i] = append(ids[i], v.add(w)) // FTS5 drops no stop words
		}
	}
	x := &invertedIndex{}
	for i, stems := range ids {
		x.add(i, stems)
	}
	for _, word := range []string{"red", "apple", "walnuts", "house"} {
		rows, err := db.Query("SELECT rowid, -bm25(t) FROM t WHERE t MATCH ?", word)
		if err != nil {
			t.Fatal(err)
		}
		found := map[int]float64{}
		for rows.Next() {
			var at int
			var score float64
			if err := rows.Scan(&at, &score); err != nil {
				t.Fatal(err)
			}
			found[at] = score
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			t.Fatal(err)
		}
		n := float64(len(found))
		// FTS5 takes ln((N − n + ½)/(n + ½)), at least 1e-6, where we have the form that is never negative.
		sqliteIDF := max(1e-6, math.Log((6-n+0.5)/(n+0.5)))
		ours := x.bm25([]int32{v.find(word)})
		for at, score := range found {
			if got := ours[at] / x.idf(v.find(word)) * sqliteIDF; math.Abs(got-score) > 1e-6*math.Abs(score)+1e-12 {
				t.Errorf("%s in %q: ours %v, SQLite's %v", word, texts[at], got, score)
			}
			ours[at] = 0
		}
		if i := slices.IndexFunc(ours, func(s float64) bool { return s != 0 }); i >= 0 || len(found) == 0 {
			t.Errorf("%s: we find it in %q, SQLite does not", word, texts[max(i, 0)])
		}
	}
}

// rowsOf returns the features of the talk's turns for a question, by turn id and name.
func rowsOf(t *testing.T, question string) map[string]map[string]float64 {
	t.Helper()
	chunks := split(t, talk())
	vectors, err := bagEmbedder{}.Embed(t.Context(), TurnTexts(chunks))
	if err != nil {
		t.Fatal(err)
	}
	chunkVectors := vectors[:len(chunks)]
	r, err := New(t.Context(), Hybrid, Index{Chunks: chunks, Vectors: chunkVectors, TurnVectors: vectors})
	if err != nil {
		t.Fatal(err)
	}
	c := r.ranker.(*hybrid).corpus
	rows := c.look(ask(t, question), chunkVectors, nil).features(all(len(c.turns)))
	out := map[string]map[string]float64{}
	n := 0
	for _, ch := range chunks {
		for _, turn := range ch.Turns {
			if len(rows[n]) != len(featureNames) {
				t.Fatalf("%d features, %d names", len(rows[n]), len(featureNames))
			}
			row := map[string]float64{}
			for j, name := range featureNames {
				row[name] = rows[n][j]
			}
			out[turn.ID] = row
			n++
		}
	}
	return out
}

// all lists the numbers below n.
func all(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

func TestFeatures(t *testing.T) {
	rows := rowsOf(t, "When did Ann attend a pottery class, on 8 May 2023?")
	for _, tt := range []struct {
		turn, feature string
		want          float64
	}{
		{"D1:3", "said_by_asked", 1}, {"D1:3", "said_by_other", 0}, {"D1:3", "reply_to_asked", 0},
		{"D1:4", "said_by_asked", 0}, {"D1:4", "said_by_other", 1}, {"D1:4", "reply_to_asked", 1},
		{"D1:3", "has_time", 1}, {"D1:3", "asks_when_has_time", 1}, {"D1:4", "has_time", 0},
		{"D2:3", "has_number", 1}, {"D2:3", "asks_number_has_number", 0}, {"D2:3", "has_name", 1},
		{"D1:2", "is_question", 1}, {"D1:3", "reply_to_question", 1}, {"D1:1", "reply_to_question", 0},
		{"D1:1", "date_match", 1}, {"D2:1", "date_match", 1.0 / 3},
		{"D1:1", "size_prev", 0}, {"D1:2", "size_prev", math.Log(7)}, // Hi Bo How have you been
		{"D2:1", "bm25", 0}, {"D2:1", "cover", 0}, {"D2:1", "cover_window", 0}, {"D2:1", "cover_session", 0},
	} {
		if got, ok := rows[tt.turn][tt.feature]; !ok || math.Abs(got-tt.want) > 1e-12 {
			t.Errorf("%s %s: got %v (known: %v), want %v", tt.turn, tt.feature, got, ok, tt.want)
		}
	}
	// "pottery" is in D1:3 alone, "class" in D1:3 and D1:4: the neighbours see it too.
	three, four, one := rows["D1:3"], rows["D1:4"], rows["D1:1"]
	if !(three["cover"] > four["cover"] && four["cover"] > 0 && four["cover_window"] == three["cover_window"] && one["cover"] == 0) {
		t.Errorf("cover: %v, %v, %v", three, four, one)
	}
	if !(three["bm25"] > four["bm25"] && four["bm25_prev"] == three["bm25"] && one["cover_session"] == three["cover_session"]) {
		t.Errorf("bm25: %v, %v, %v", three, four, one)
	}
	for id, row := range rows {
		for name, v := range row {
			if strings.HasPrefix(name, "cos") && math.Abs(v) > 1+1e-5 || math.IsNaN(v) {
				t.Errorf("%s %s = %v", id, name, v)
			}
		}
	}
	if a, b := rowsOf(t, "class pottery class"), rowsOf(t, "pottery class"); !reflect.DeepEqual(a["D1:3"]["bm25"], b["D1:3"]["bm25"]) {
		t.Error("a repeated word counts twice")
	}
}

func TestModelRefusesOtherFeatures(t *testing.T) {
	m, err := parseModel(weightsFile)
	if err != nil {
		t.Fatal(err)
	}
	if m.Slope <= 0 {
		t.Errorf("slope %v: a larger score would be less probable", m.Slope)
	}
	swapped := *m
	swapped.Weights = slices.Clone(m.Weights)
	slices.Reverse(swapped.Weights)
	short := *m
	short.Weights = m.Weights[1:]
	for _, bad := range []*model{&swapped, &short} {
		data, err := json.Marshal(bad)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseModel(data); err == nil || !strings.Contains(err.Error(), "fit them again") {
			t.Errorf("got %v", err)
		}
	}
	if _, err := parseModel([]byte("{")); err == nil {
		t.Error("half a file was accepted")
	}
}

// holdsName is this regular expression.
func FuzzHoldsName(f *testing.F) {
	same := regexp.MustCompile(`[\p{Ll},] +\p{Lu}\p{Ll}`)
	for _, s := range []string{"We met Rita.", "Rita met", "so,  Bern", "a BC d", "x, É", "ä Äb", "a\xff Bc"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got, want := holdsName(s), same.MatchString(s); got != want {
			t.Errorf("%q: %v, want %v", s, got, want)
		}
	})
}
