package openai

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
)

// object is a JSON object whose fields are read only when they are used: a form that nobody needs cannot make a reply
// unreadable.
type object map[string]json.RawMessage

// errCut is a body that ends before its JSON does.
var errCut = fmt.Errorf("it ends too early: %w", io.ErrUnexpectedEOF)

func cutShort(err error) bool { return errors.Is(err, errCut) }

// readObject reads the first JSON value of a body. Bare NaN and Infinity, which Python writes, are read as null. Of a
// list the first object counts: Gemini sends errors so.
func readObject(body []byte) (object, error) {
	body = bytes.TrimSpace(bytes.TrimPrefix(bytes.TrimSpace(body), byteOrderMark))
	if len(body) == 0 {
		return nil, fmt.Errorf("it is empty: %w", errCut)
	}
	raw, err := firstValue(body)
	if err != nil {
		if raw, err = firstValue(withoutNaN(body)); err != nil {
			return nil, err
		}
	}
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) == nil && len(list) > 0 {
		raw = list[0]
	}
	var o object
	if err := json.Unmarshal(raw, &o); err != nil || o == nil {
		return nil, errors.New("it is no JSON object")
	}
	return o, nil
}

func firstValue(body []byte) (raw json.RawMessage, err error) {
	err = json.NewDecoder(bytes.NewReader(body)).Decode(&raw)
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return nil, errCut
	}
	return raw, err
}

// withoutNaN replaces NaN, Infinity and -Infinity outside of strings by null.
func withoutNaN(body []byte) []byte {
	var out []byte
	inString := false
	for i := 0; i < len(body); i++ {
		switch b := body[i]; {
		case inString && b == '\\':
			out = append(out, b)
			if i++; i < len(body) {
				out = append(out, body[i])
			}
			continue
		case b == '"':
			inString = !inString
		case !inString:
			for _, word := range []string{"NaN", "-Infinity", "Infinity"} {
				if bytes.HasPrefix(body[i:], []byte(word)) {
					out = append(out, "null"...)
					i += len(word)
					break
				}
			}
			if i >= len(body) {
				return out
			}
		}
		out = append(out, body[i])
	}
	return out
}

// get returns a field as an object; nil if it is none.
func (o object) get(name string) object {
	var out object
	if json.Unmarshal(o[name], &out) != nil {
		return nil
	}
	return out
}

// list returns a field as a list of objects; what is no object in it is left out.
func (o object) list(name string) []object {
	var raw []json.RawMessage
	if json.Unmarshal(o[name], &raw) != nil {
		return nil
	}
	var out []object
	for _, r := range raw {
		var item object
		if json.Unmarshal(r, &item) == nil && item != nil {
			out = append(out, item)
		}
	}
	return out
}

// text returns a field as a string: a number is one too, null and the rest are "".
func (o object) text(name string) string {
	var s string
	if json.Unmarshal(o[name], &s) == nil {
		return s
	}
	var n json.Number
	if json.Unmarshal(o[name], &n) == nil {
		return n.String()
	}
	return ""
}

// count returns the first of the fields that is a number, as a whole number; 0 if none is. Numbers too large for an int
// stop at its bounds.
func (o object) count(names ...string) int {
	for _, name := range names {
		text := o.text(name)
		if n, err := strconv.Atoi(text); err == nil {
			return n
		}
		if f, err := strconv.ParseFloat(text, 64); text != "" && (err == nil || errors.Is(err, strconv.ErrRange)) && !math.IsNaN(f) {
			return int(max(min(f, math.MaxInt32), math.MinInt32))
		}
	}
	return 0
}

// number returns a field that is a finite number.
func (o object) number(name string) (float64, bool) {
	f, err := strconv.ParseFloat(o.text(name), 64)
	return f, err == nil && !math.IsNaN(f) && !math.IsInf(f, 0)
}

// set says whether a field is there and not null.
func (o object) set(name string) bool {
	raw, ok := o[name]
	return ok && !bytes.Equal(raw, []byte("null"))
}

// says tells whether a field holds anything but forms of nothing: null, false, "", 0 and lists and objects of these.
func (o object) says(name string) bool {
	var v any
	return json.Unmarshal(o[name], &v) == nil && !blank(v)
}

func blank(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case bool:
		return !v
	case string:
		return strings.TrimSpace(v) == ""
	case float64:
		return v == 0
	case []any:
		return !slices.ContainsFunc(v, func(x any) bool { return !blank(x) })
	case map[string]any:
		for _, x := range v {
			if !blank(x) {
				return false
			}
		}
	}
	return true
}
