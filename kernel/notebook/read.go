package notebook

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// minor is the version 4.x of nbformat that this package writes.
const minor = 5

var idForm = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)

// Parse reads an .ipynb file of nbformat 4. Fields that it does not know are kept. The error names line, cell and field
// of what is wrong.
func Parse(data []byte) (*Notebook, error) {
	if err := wellFormed(data); err != nil {
		return nil, err
	}
	top, err := readObject("", data)
	if err != nil {
		return nil, err
	}
	nb := &Notebook{}
	var cells []jsontext.Value
	var major int
	if err := errors.Join(top.take("nbformat", &major), top.take("nbformat_minor", &nb.minor)); err != nil {
		return nil, err
	}
	if major != 4 || nb.minor < 0 {
		return nil, fmt.Errorf("this is nbformat %d.%d, not 4: open and save it in Jupyter", major, nb.minor)
	}
	if err := errors.Join(top.take("metadata", &nb.Metadata), top.take("cells", &cells)); err != nil {
		return nil, err
	}
	nb.extra = top.rest()
	ids := map[string]int{}
	for i, raw := range cells {
		c, err := readCell(raw, nb.minor)
		if err != nil {
			return nil, fmt.Errorf("cell %d: %w", i+1, err)
		}
		if other, ok := ids[c.ID]; ok && c.ID != "" {
			return nil, fmt.Errorf("cell %d: field id: %q is the ID of cell %d too", i+1, c.ID, other)
		}
		ids[c.ID] = i + 1
		nb.Cells = append(nb.Cells, c)
	}
	if err := nb.checkMetadata(); err != nil {
		return nil, err
	}
	nb.minor = max(nb.minor, minor)
	nb.identify()
	return nb, nil
}

// checkMetadata checks what Jupyter and this package look into.
func (nb *Notebook) checkMetadata() error {
	for _, name := range []string{"kernelspec", "language_info"} {
		var spec struct {
			Name string `json:"name"`
		}
		if raw, ok := nb.Metadata[name]; ok && (json.Unmarshal(raw, &spec) != nil || spec.Name == "") {
			return fmt.Errorf("field metadata.%s: want an object with a name", name)
		}
	}
	_, err := nb.Shows()
	return err
}

func readCell(raw jsontext.Value, version int) (Cell, error) {
	var c Cell
	fields, err := readObject("", raw)
	if err != nil {
		return c, err
	}
	if err := fields.take("cell_type", (*string)(&c.Kind)); err != nil {
		return c, err
	}
	if !slices.Contains([]Kind{Code, Markdown, Raw}, c.Kind) {
		return c, fmt.Errorf("field cell_type: %q is none of code, markdown, raw", c.Kind)
	}
	if version >= minor || fields.has("id") {
		if err := fields.take("id", &c.ID); err != nil {
			return c, err
		}
		if err := checkID(c.ID); err != nil {
			return c, err
		}
	}
	var lines multiline
	if err := errors.Join(fields.take("source", &lines), fields.take("metadata", &c.Metadata)); err != nil {
		return c, err
	}
	c.Source = string(lines)
	if err := checkTags(c.Metadata); err != nil {
		return c, err
	}
	if c.Kind == Code {
		var count *int
		if err := errors.Join(fields.take("outputs", &c.Outputs), fields.take("execution_count", &count)); err != nil {
			return c, err
		}
		if count != nil {
			c.Count = *count
		}
		if c.Count < 0 {
			return c, fmt.Errorf("field execution_count: %d is negative", c.Count)
		}
	} else if fields.has("attachments") {
		var files map[string]Object
		if err := fields.take("attachments", &files); err != nil {
			return c, err
		}
		c.Attachments = attachments(files)
	}
	c.extra = fields.rest()
	return c, nil
}

func checkID(id string) error {
	if !idForm.MatchString(id) {
		return fmt.Errorf("field id: %q is not 1 to 64 letters, digits, - and _", id)
	}
	return nil
}

func checkTags(metadata Object) error {
	var list []string
	if tags, ok := metadata["tags"]; ok && (json.Unmarshal(tags, &list) != nil || list == nil) {
		return errors.New("field metadata.tags: want a list of strings")
	}
	return nil
}

// readOutput checks an output and joins text that is split into lines.
func readOutput(raw []byte) (Object, error) {
	fields, err := readObject("", raw)
	if err != nil {
		return nil, err
	}
	all := maps.Clone(fields.left)
	var kind, word string
	var lines multiline
	var data, metadata Object
	if err := fields.take("output_type", &kind); err != nil {
		return nil, err
	}
	switch kind {
	case Stream:
		err = errors.Join(fields.take("name", &word), fields.take("text", &lines))
		all["text"] = encode(string(lines))
	case ExecuteResult, DisplayData:
		err = errors.Join(fields.take("data", &data), fields.take("metadata", &metadata))
		rejoin(data)
		all["data"] = encode(data)
		if kind == ExecuteResult {
			var count *int
			err = errors.Join(err, fields.take("execution_count", &count))
		}
	case Error:
		var traceback []string
		err = errors.Join(fields.take("ename", &word), fields.take("evalue", &word), fields.take("traceback", &traceback))
	default:
		err = fmt.Errorf("field output_type: %q is none of %s, %s, %s, %s", kind, Stream, DisplayData, ExecuteResult, Error)
	}
	return all, err
}

// attachments joins text in attached files that is split into lines.
func attachments(files map[string]Object) Object {
	joined := Object{}
	for name, forms := range files {
		rejoin(forms)
		joined[name] = encode(forms)
	}
	return joined
}

// rejoin joins text that is split into lines, in place.
func rejoin(forms Object) {
	for form, raw := range forms {
		var parts []string
		if raw.Kind() == '[' && !isJSON(form) && json.Unmarshal(raw, &parts) == nil {
			forms[form] = encode(strings.Join(parts, ""))
		}
	}
}

func isJSON(form string) bool {
	return form == "application/json" || strings.HasPrefix(form, "application/") && strings.HasSuffix(form, "+json")
}

// multiline is text that may be split into a list of lines.
type multiline string

func (m *multiline) UnmarshalJSON(raw []byte) error {
	var parts []string
	if jsontext.Value(raw).Kind() == '[' {
		if err := json.Unmarshal(raw, &parts); err != nil {
			return err
		}
		*m = multiline(strings.Join(parts, ""))
		return nil
	}
	return json.Unmarshal(raw, (*string)(m))
}

// object is a JSON object of which fields are taken one by one.
type object struct{ left Object }

// readObject reads an object; what names it in the error.
func readObject(what string, raw []byte) (object, error) {
	var o object
	if jsontext.Value(raw).Kind() != '{' {
		return o, errors.New(strings.TrimSpace(what + " want a JSON object"))
	}
	err := json.Unmarshal(raw, &o.left)
	return o, err
}

func (o object) has(name string) bool { return o.left[name] != nil }

// take decodes a field that must be there. null is refused but for pointers.
func (o object) take(name string, into any) error {
	raw, ok := o.left[name]
	if !ok {
		return fmt.Errorf("field %s: missing", name)
	}
	delete(o.left, name)
	if _, pointer := into.(**int); raw.Kind() == 'n' && !pointer {
		return fmt.Errorf("field %s: want %s, is null", name, wanted(into))
	}
	err := json.Unmarshal(raw, into)
	var where *json.SemanticError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &where) && where.Err != nil && where.JSONPointer != "":
		return fmt.Errorf("field %s%s: %w", name, path(where.JSONPointer), where.Err)
	}
	return fmt.Errorf("field %s: want %s", name, wanted(into))
}

func (o object) rest() Object {
	if len(o.left) == 0 {
		return nil
	}
	return o.left
}

func wanted(into any) string {
	switch into.(type) {
	case *string:
		return "a string"
	case *int, **int:
		return "a whole number"
	case *multiline:
		return "a string or a list of strings"
	case *Object, *map[string]Object:
		return "an object"
	}
	return "a list"
}

// wellFormed says where data is not JSON.
func wellFormed(data []byte) error {
	decoder := jsontext.NewDecoder(bytes.NewReader(data))
	_, err := decoder.ReadValue()
	if err == nil {
		if _, err = decoder.ReadToken(); err == io.EOF {
			return nil
		} else if err == nil {
			err = errors.New("something follows the notebook")
		}
	}
	var where *jsontext.SyntacticError
	if !errors.As(err, &where) {
		return fmt.Errorf("no JSON value: %w", err)
	}
	line := 1 + bytes.Count(data[:min(int(where.ByteOffset), len(data))], []byte("\n"))
	place := ""
	if tokens := slices.Collect(where.JSONPointer.Tokens()); len(tokens) > 1 && tokens[0] == "cells" {
		if i, err := strconv.Atoi(tokens[1]); err == nil {
			place = fmt.Sprintf("cell %d: ", i+1)
			if len(tokens) > 2 {
				place += "field " + tokens[2] + path(jsontext.Pointer("/"+strings.Join(tokens[3:], "/"))) + ": "
			}
		}
	}
	return fmt.Errorf("line %d: %s%w", line, place, where.Err)
}

// path writes a JSON pointer as a program would: .data[0].
func path(p jsontext.Pointer) string {
	var b strings.Builder
	for token := range p.Tokens() {
		if _, err := strconv.Atoi(token); err == nil {
			fmt.Fprintf(&b, "[%s]", token)
		} else if token != "" {
			fmt.Fprintf(&b, ".%s", token)
		}
	}
	return b.String()
}

func keys(o Object) []string { return slices.Sorted(maps.Keys(o)) }
