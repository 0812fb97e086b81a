package score

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"unicode/utf8"
)

// Line is a prediction from a file of JSON lines.
type Line struct {
	Item
	// ID is the prediction's id as it stands in the file, a JSON string or number.
	ID json.RawMessage
	// Number is the line's, counted from 1.
	Number int
}

// ReadLines reads one object {"id","prediction","gold","category"} a line. id and prediction are required; gold is a
// string, a number or a list of these; category, LoCoMo's number or name or any other label, may be left out. Other
// fields and blank lines are passed over. Errors name the file, the line and the field, and say what to do.
func ReadLines(file string, r io.Reader) ([]Line, error) {
	var out []Line
	in := bufio.NewReader(r)
	for n := 1; ; n++ {
		text, err := in.ReadBytes('\n')
		if err != nil && err != io.EOF {
			return nil, fmt.Errorf("%s:%d: %w", file, n, err)
		}
		if n == 1 {
			text = bytes.TrimPrefix(text, []byte("\ufeff"))
		}
		if text = bytes.TrimSpace(text); len(text) > 0 {
			line, err := parseLine(text)
			if err != nil {
				return nil, fmt.Errorf("%s:%d: %w", file, n, err)
			}
			line.Number = n
			out = append(out, line)
		}
		if err == io.EOF {
			return out, nil
		}
	}
}

func parseLine(text []byte) (Line, error) {
	if !utf8.Valid(text) {
		return Line{}, errors.New("the line is not UTF-8; convert the file")
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(text, &object); err != nil || object == nil {
		return Line{}, fmt.Errorf("want one JSON object a line, such as {\"id\":\"1\",\"prediction\":\"a\",\"gold\":\"b\"}: %w",
			cmp.Or(err, errors.New("this is null")))
	}
	line := Line{ID: object["id"]}
	if _, err := answerText(line.ID); err != nil {
		return Line{}, errors.New(`field "id": want a string or a number that names the prediction`)
	}
	var err error
	if line.Prediction, err = answerText(object["prediction"]); err != nil {
		return Line{}, errors.New(`field "prediction": want the answer as text; write "" where there is none`)
	}
	if raw, ok := object["gold"]; ok {
		var gold Gold
		if err := gold.UnmarshalJSON(raw); err != nil {
			return Line{}, fmt.Errorf(`field "gold": want a string, a number, or a list of these: %w`, err)
		}
		line.Gold = gold
	}
	if raw, ok := object["category"]; ok && string(raw) != "null" {
		if line.Category, err = categoryText(raw); err != nil {
			return Line{}, errors.New(`field "category": want LoCoMo's number, 1 to 5, or a name; leave it out where there is none`)
		}
	}
	return line, nil
}

// categoryText reads a category as text; whole numbers are written without a fraction.
func categoryText(raw json.RawMessage) (string, error) {
	var n float64
	if json.Unmarshal(raw, &n) == nil {
		return strconv.FormatFloat(n, 'f', -1, 64), nil
	}
	return answerText(raw)
}

// Scored holds the results of a file of predictions.
type Scored struct {
	Metric  string
	Lines   []Line
	Results []Result // one a line
}

// ScoreLines scores every line. An item that the metric cannot score is an error that names the file, the line and the
// field; so is a file without any.
func (m Metric) ScoreLines(file string, lines []Line) (Scored, error) {
	if len(lines) == 0 {
		return Scored{}, fmt.Errorf("%s: no predictions in it", file)
	}
	s := Scored{Metric: m.Name, Lines: lines, Results: make([]Result, len(lines))}
	for i, l := range lines {
		var err error
		switch s.Results[i], err = m.Score(l.Item); {
		case errors.Is(err, ErrCategory):
			return Scored{}, fmt.Errorf("%s:%d: field \"category\": %w; correct it or choose another metric", file, l.Number, err)
		case err != nil:
			return Scored{}, fmt.Errorf("%s:%d: field \"gold\": %w; add the right answer or take the line out", file, l.Number, err)
		}
	}
	return s, nil
}

// WriteLines writes one {"id","score",…} a line; a metric's further values follow the score under their names.
func (s Scored) WriteLines(w io.Writer) error {
	out := bufio.NewWriter(w)
	for i, l := range s.Lines {
		fmt.Fprintf(out, `{"id":%s,"score":%s`, l.ID, number(s.Results[i].Score)) // Flush reports its error
		for _, name := range slices.Sorted(maps.Keys(s.Results[i].Parts)) {
			fmt.Fprintf(out, `,%q:%s`, name, number(s.Results[i].Parts[name]))
		}
		fmt.Fprintln(out, "}")
	}
	return out.Flush()
}

// number writes a float64 so that it reads back the same.
func number(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }

// Summary is the outcome over all lines.
type Summary struct {
	Metric string `json:"metric"`
	// Count is the number of predictions and Mean the mean of their scores.
	Count int     `json:"n"`
	Mean  float64 `json:"mean"`
	// Parts holds the means of the metric's further values.
	Parts map[string]float64 `json:"parts,omitempty"`
	// ByCategory holds the mean and number for each category, if any prediction has one.
	ByCategory map[string]CategorySummary `json:"by_category,omitempty"`
}

// CategorySummary is the outcome over the lines of one category.
type CategorySummary struct {
	Count int     `json:"n"`
	Mean  float64 `json:"mean"`
}

// Summary returns the means.
func (s Scored) Summary() Summary {
	out := Summary{Metric: s.Metric, Count: len(s.Results), Parts: map[string]float64{}, ByCategory: map[string]CategorySummary{}}
	for i, r := range s.Results {
		out.Mean += r.Score
		for name, v := range r.Parts {
			out.Parts[name] += v
		}
		if c := s.Lines[i].Category; c != "" {
			sum := out.ByCategory[c]
			out.ByCategory[c] = CategorySummary{sum.Count + 1, sum.Mean + r.Score}
		}
	}
	n := float64(max(out.Count, 1))
	out.Mean /= n
	for name := range out.Parts {
		out.Parts[name] /= n
	}
	for c, sum := range out.ByCategory {
		out.ByCategory[c] = CategorySummary{sum.Count, sum.Mean / float64(sum.Count)}
	}
	return out
}
