package score

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func TestReadLines(t *testing.T) {
	const file = "\ufeff" + `{"id":"a","prediction":"x","gold":"y","category":1}
{"id":7,"prediction":"","gold":["y",2022,1.50],"category":"temporal","model":{"ignored":true}}

{"id":"c","prediction":3,"gold":4,"category":2.0}` + "\r\n" + `{"id":"d","prediction":"not mentioned","gold":null,"category":null}`
	lines, err := ReadLines("f", strings.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(lines)
	if err != nil {
		t.Fatal(err)
	}
	const want = `[{"Prediction":"x","Gold":["y"],"Category":"1","ID":"a","Number":1},` +
		`{"Prediction":"","Gold":["y","2022","1.5"],"Category":"temporal","ID":7,"Number":2},` +
		`{"Prediction":"3","Gold":["4"],"Category":"2","ID":"c","Number":4},` +
		`{"Prediction":"not mentioned","Gold":null,"Category":"","ID":"d","Number":5}]`
	if string(got) != want {
		t.Errorf("lines are\n%s\nwant\n%s", got, want)
	}
}

func TestBadLines(t *testing.T) {
	good := `{"id":1,"prediction":"a","gold":"a","category":4}` + "\n"
	for bad, want := range map[string]string{
		`{"id":1,"prediction":"a"`: "one JSON object a line",
		`[1]`:                      "one JSON object a line",
		`null`:                     "one JSON object a line",
		`{"id":1,"prediction":"a","gold":"a"} {}`:             "one JSON object a line",
		`{"prediction":"a","gold":"a"}`:                       `field "id"`,
		`{"id":null,"prediction":"a","gold":"a"}`:             `field "id"`,
		`{"id":1,"gold":"a"}`:                                 `field "prediction"`,
		`{"id":1,"prediction":null,"gold":"a"}`:               `field "prediction"`,
		`{"id":1,"prediction":["a"],"gold":"a"}`:              `field "prediction"`,
		`{"id":1,"Prediction":"a","gold":"a"}`:                `field "prediction"`,
		`{"id":1,"prediction":"a","gold":true}`:               `field "gold"`,
		`{"id":1,"prediction":"a","gold":["a",["b"]]}`:        `field "gold"`,
		`{"id":1,"prediction":"a","gold":[],"category":4}`:    `field "gold"`,
		`{"id":1,"prediction":"a","category":4}`:              `field "gold"`,
		`{"id":1,"prediction":"a","gold":"a","category":[4]}`: `field "category"`,
		`{"id":1,"prediction":"a","gold":"a","category":6}`:   `field "category"`,
		`{"id":1,"prediction":"a","gold":"a"}`:                `field "category"`,
		"{\"id\":1,\"prediction\":\"\xff\",\"gold\":\"a\"}":   "UTF-8",
	} {
		locomo, err := Lookup("locomo")
		if err != nil {
			t.Fatal(err)
		}
		lines, err := ReadLines("in.jsonl", strings.NewReader(good+"\n"+bad+"\n"+good))
		if err == nil {
			_, err = locomo.ScoreLines("in.jsonl", lines)
		}
		if err == nil || !strings.HasPrefix(err.Error(), "in.jsonl:3: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s gives %v; want in.jsonl:3 and %s", bad, err, want)
		}
	}
}

func TestSummary(t *testing.T) {
	hotpot, err := Lookup("hotpot")
	if err != nil {
		t.Fatal(err)
	}
	lines, err := ReadLines("f", strings.NewReader(`{"id":1,"prediction":"red car","gold":"red","category":"bridge"}
{"id":2,"prediction":"yes","gold":"no","category":"comparison"}
{"id":3,"prediction":"Paris","gold":"paris","category":"bridge"}`))
	if err != nil {
		t.Fatal(err)
	}
	scored, err := hotpot.ScoreLines("f", lines)
	if err != nil {
		t.Fatal(err)
	}
	s := scored.Summary()
	equal(t, "mean", s.Mean, (2./3+0+1)/3)
	equal(t, "mean of em", s.Parts["em"], 1./3)
	equal(t, "mean of bridge", s.ByCategory["bridge"].Mean, (2./3+1)/2)
	if s.Count != 3 || s.ByCategory["bridge"].Count != 2 || s.ByCategory["comparison"].Count != 1 {
		t.Errorf("counts are wrong: %+v", s)
	}
	var out bytes.Buffer
	if err := scored.WriteLines(&out); err != nil {
		t.Fatal(err)
	}
	const want = `{"id":1,"score":0.6666666666666666,"em":0,"precision":0.5,"recall":1}
{"id":2,"score":0,"em":0,"precision":0,"recall":0}
{"id":3,"score":1,"em":1,"precision":1,"recall":1}
`
	if out.String() != want {
		t.Errorf("wrote\n%s\nwant\n%s", out.String(), want)
	}
	if _, err := hotpot.ScoreLines("f", nil); err == nil {
		t.Error("an empty file was scored")
	}
}

// Whatever the input, it is refused with the file's name or scored within [0,1] and written as valid JSON lines.
func FuzzScore(f *testing.F) {
	f.Add([]byte(`{"id":"a","prediction":"the 12 cats, and Dr. O'Neil's dog.","gold":["12 cats",2022],"category":1}`))
	f.Add([]byte(`{"id":1,"prediction":"gonna go. \"U.S.\" 'tis","gold":1.5e3,"category":"open-domain"}` + "\n\n" + `{"id":`))
	f.Fuzz(func(t *testing.T, input []byte) {
		lines, err := ReadLines("in", bytes.NewReader(input))
		if err != nil {
			if !strings.HasPrefix(err.Error(), "in:") {
				t.Fatalf("error does not name the file: %v", err)
			}
			return
		}
		for _, m := range Metrics() {
			scored, err := m.ScoreLines("in", lines)
			if err != nil {
				continue
			}
			var out bytes.Buffer
			if err := scored.WriteLines(&out); err != nil {
				t.Fatal(err)
			}
			for line := range bytes.Lines(out.Bytes()) {
				var v struct{ Score *float64 }
				if err := json.Unmarshal(line, &v); err != nil || v.Score == nil || *v.Score < 0 || *v.Score > 1+1e-12 {
					t.Fatalf("%s wrote %s: %v", m.Name, line, err)
				}
			}
		}
	})
}
