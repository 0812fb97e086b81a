package memory

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/google/jsonschema-go/jsonschema"
)

// asked is a request whose query and body have the form that the description gives them.
type asked struct {
	*http.Request
	query map[string]string
	body  []byte // a JSON object; nil for operations without a body
}

// ask checks the form of a request. The schema of the body is in; nil for none.
func (h *rest) ask(r *http.Request, o operation, in *jsonschema.Resolved) (*asked, error) {
	out := &asked{Request: r}
	var err error
	if out.query, err = queried(r, o.query); err != nil {
		return nil, err
	}
	if in != nil {
		out.body, err = h.read(r, in)
	}
	return out, err
}

// queried returns the parameters in the query. Those that are unknown, given twice or of a wrong form are refused.
func queried(r *http.Request, known []parameter) (map[string]string, error) {
	if !utf8.ValidString(r.URL.RawQuery) {
		return nil, bad("the query is not UTF-8")
	}
	given, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, bad("the query: %v", err)
	}
	out := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		i := slices.IndexFunc(known, func(p parameter) bool { return p.name == name })
		switch {
		case i < 0:
			return nil, bad("parameter %.40q: there is none of this name", name)
		case len(given[name]) != 1:
			return nil, bad("parameter %s: give it once", name)
		}
		text := given[name][0]
		var value any = text
		if n, err := strconv.Atoi(text); known[i].schema.Type == "integer" && err == nil && strconv.Itoa(n) == text {
			value = n
		}
		if err := mismatch(known[i].schema, value, name); err != nil {
			return nil, bad("parameter %v", err)
		}
		out[name] = text
	}
	return out, nil
}

// read returns the body of a request, which must match a schema. What the schema does not know is refused, as it is most often
// misspelt.
func (h *rest) read(r *http.Request, in *jsonschema.Resolved) ([]byte, error) {
	data, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, h.maxBody))
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return nil, &Error{Status: http.StatusRequestEntityTooLarge, Message: fmt.Sprintf("the body has more than %d bytes", large.Limit)}
	} else if err != nil {
		return nil, bad("the body cannot be read: %v", err)
	}
	if !utf8.Valid(data) {
		return nil, bad("the body is not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, bad("the body: want a JSON object: %v", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, bad("the body: something follows the JSON object")
	}
	if in.Validate(v) != nil {
		return nil, bad("%v", mismatch(in.Schema(), v, ""))
	}
	return json.Marshal(v) // so that what is decoded is what was checked, even where a field is given twice
}

// mismatch says where a value does not match a schema, as in `turns[2].text: …`; nil if it does.
func mismatch(s *jsonschema.Schema, v any, path string) error {
	resolved, err := s.Resolve(nil)
	if err != nil {
		return err
	}
	if err = resolved.Validate(v); err == nil {
		return nil
	}
	switch v := v.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if p := s.Properties[name]; p == nil {
				return fmt.Errorf("%s: unknown field", under(path, fmt.Sprintf("%.40q", name)))
			} else if err := mismatch(p, v[name], under(path, name)); err != nil {
				return err
			}
		}
	case []any:
		for i, item := range v {
			if s.Items == nil {
				break
			} else if err := mismatch(s.Items, item, fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return err
			}
		}
	}
	if path == "" {
		path = "the body"
	}
	return fmt.Errorf("%s: %s", path, reason(s, v, err))
}

// under is the path of a field of the object at path.
func under(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// reason says in words why v itself does not match s.
func reason(s *jsonschema.Schema, v any, err error) string {
	got, _ := json.Marshal(v) // it was decoded from JSON
	switch text := strings.TrimPrefix(err.Error(), "validating root: "); {
	case strings.HasPrefix(text, "required:"):
		return fmt.Sprintf("missing; there must be %s", strings.Join(s.Required, ", "))
	case strings.HasPrefix(text, "type:"):
		return fmt.Sprintf("%s: want %s", clip(got), s.Type)
	case strings.HasPrefix(text, "enum:"):
		return fmt.Sprintf("%s: want one of %v", clip(got), s.Enum)
	case strings.HasPrefix(text, "minimum:") || strings.HasPrefix(text, "maximum:") || strings.HasPrefix(text, "exclusiveMinimum:"):
		return fmt.Sprintf("%s: want %s", clip(got), interval(s))
	case strings.HasPrefix(text, "m"): // lengths
		return clip([]byte(text))
	case s.Description != "":
		return fmt.Sprintf("%s is not of its form: want %s", clip(got), s.Description)
	default:
		return clip(got) + " is not of its form"
	}
}

// interval is what numbers a schema allows.
func interval(s *jsonschema.Schema) string {
	switch {
	case s.ExclusiveMinimum != nil:
		return fmt.Sprintf("more than %g", *s.ExclusiveMinimum)
	case s.Minimum != nil && s.Maximum != nil:
		return fmt.Sprintf("%g to %g", *s.Minimum, *s.Maximum)
	case s.Minimum != nil:
		return fmt.Sprintf("%g at least", *s.Minimum)
	}
	return fmt.Sprintf("%g at most", *s.Maximum)
}

// clip shortens a text for a message.
func clip(b []byte) string { return fmt.Sprintf("%.100s", b) }
