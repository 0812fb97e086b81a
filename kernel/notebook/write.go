package notebook

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Format writes the notebook as an .ipynb file, the way Jupyter does: keys sorted, text split into lines.
func (nb *Notebook) Format() ([]byte, error) {
	cells := make([]Object, len(nb.Cells))
	for i := range nb.Cells {
		cells[i] = nb.Cells[i].object()
	}
	top := Object{
		"cells":          encode(cells),
		"metadata":       encode(nb.Metadata),
		"nbformat":       encode(4),
		"nbformat_minor": encode(max(nb.minor, minor)),
	}
	merge(top, nb.extra)
	data := encode(top)
	if err := data.Format(jsontext.Multiline(true), jsontext.WithIndent(" "), jsontext.ReorderRawObjects(true)); err != nil {
		return nil, err
	}
	return append(data, '\n'), nil
}

func (c *Cell) object() Object {
	fields := Object{
		"cell_type": encode(c.Kind),
		"id":        encode(c.ID),
		"metadata":  encode(c.Metadata),
		"source":    encode(splitLines(c.Source)),
	}
	if c.Kind == Code {
		outputs := make([]Object, len(c.Outputs))
		for i, o := range c.Outputs {
			outputs[i] = o.split()
		}
		fields["outputs"] = encode(outputs)
		fields["execution_count"] = jsontext.Value("null")
		if c.Count > 0 {
			fields["execution_count"] = encode(c.Count)
		}
	}
	if c.Attachments != nil {
		files := Object{}
		for name, raw := range c.Attachments {
			files[name] = splitForms(raw)
		}
		fields["attachments"] = encode(files)
	}
	merge(fields, c.extra)
	return fields
}

// split returns the output with its text split into lines.
func (o Output) split() Object {
	fields := Object{}
	merge(fields, o.fields)
	switch o.Type() {
	case Stream:
		_, written := o.Stream()
		fields["text"] = encode(splitLines(written))
	case ExecuteResult, DisplayData:
		fields["data"] = splitForms(fields["data"])
	}
	return fields
}

// splitForms splits the forms that are text into lines.
func splitForms(raw jsontext.Value) jsontext.Value {
	var forms Object
	if json.Unmarshal(raw, &forms) != nil {
		return raw
	}
	for form, value := range forms {
		if value.Kind() == '"' && (strings.HasPrefix(form, "text/") || form == "application/javascript" || form == "image/svg+xml") {
			forms[form] = encode(splitLines(text(value)))
		}
	}
	return encode(forms)
}

// splitLines splits text behind each end of a line, at all those that Python's str.splitlines knows.
func splitLines(s string) []string {
	lines := []string{}
	for s != "" {
		end := strings.IndexAny(s, "\n\r\v\f\x1c\x1d\x1e\u0085\u2028\u2029")
		if end < 0 {
			return append(lines, s)
		}
		_, width := utf8.DecodeRuneInString(s[end:])
		if strings.HasPrefix(s[end:], "\r\n") {
			width = 2
		}
		lines = append(lines, s[:end+width])
		s = s[end+width:]
	}
	return lines
}

func merge(into, from Object) {
	for name, value := range from {
		into[name] = value
	}
}

// encode returns a value as JSON, what is no UTF-8 replaced.
func encode(v any) jsontext.Value {
	data, err := json.Marshal(v, json.Deterministic(true), jsontext.AllowInvalidUTF8(true))
	if err != nil {
		panic(err) // only objects, lists, strings and numbers come here
	}
	return data
}

// clone returns a notebook with cells of its own.
func (nb *Notebook) clone() *Notebook {
	c := *nb
	c.Cells = slices.Clone(nb.Cells)
	return &c
}
