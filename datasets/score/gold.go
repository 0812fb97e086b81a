package score

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// Gold holds the accepted answers of a question. In JSON it is a string, a number, or a list of those; numbers become
// the text that Python's str gives, as the official scripts do.
type Gold []string

// UnmarshalJSON reads a string, a number, or a list of strings and numbers. null means that no answer was given.
func (g *Gold) UnmarshalJSON(data []byte) error {
	data = bytes.TrimSpace(data)
	if bytes.Equal(data, []byte("null")) {
		*g = nil
		return nil
	}
	if len(data) == 0 || data[0] != '[' {
		text, err := answerText(data)
		*g = Gold{text}
		return err
	}
	var items []json.RawMessage
	if err := json.Unmarshal(data, &items); err != nil {
		return err
	}
	texts := make(Gold, len(items))
	for i, item := range items {
		text, err := answerText(item)
		if err != nil {
			return fmt.Errorf("answer %d of the list: %w", i+1, err)
		}
		texts[i] = text
	}
	*g = texts
	return nil
}

// answerText is one answer, a JSON string or number, as text.
func answerText(data []byte) (string, error) {
	if len(data) > 0 && data[0] == '"' {
		var s string
		err := json.Unmarshal(data, &s)
		return s, err
	}
	var n json.Number
	if err := json.Unmarshal(data, &n); err != nil || n == "" {
		return "", fmt.Errorf("an answer is %.40s, want a string or a number", data)
	}
	return numberText(n), nil
}

// numberText writes a JSON number as Python prints it once parsed: integers digit for digit, others as the shortest
// float64, with an exponent below 1e-4 and from 1e16.
func numberText(n json.Number) string {
	if !strings.ContainsAny(string(n), ".eE") {
		if n == "-0" {
			return "0"
		}
		return string(n)
	}
	f, err := n.Float64()
	if err != nil { // out of range
		if f < 0 {
			return "-inf"
		}
		return "inf"
	}
	exp := strconv.FormatFloat(f, 'e', -1, 64)
	power, _ := strconv.Atoi(exp[strings.IndexByte(exp, 'e')+1:])
	if f != 0 && (power < -4 || power >= 16) {
		return exp
	}
	text := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(text, ".") {
		text += ".0"
	}
	return text
}
