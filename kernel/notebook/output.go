package notebook

import (
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Output is one output of a code cell, of the form that nbformat has for its type.
type Output struct{ fields Object }

// The types of outputs.
const (
	Stream        = "stream"
	DisplayData   = "display_data"
	ExecuteResult = "execute_result"
	Error         = "error"
)

// Type returns the output's type.
func (o Output) Type() string { return text(o.fields["output_type"]) }

// Stream returns the name of a stream, stdout or stderr, and what was written to it; nothing for other types.
func (o Output) Stream() (name, written string) {
	return text(o.fields["name"]), text(o.fields["text"])
}

// Error returns the name, the message and the traceback of an error; nothing for other types.
func (o Output) Error() (name, message string, traceback []string) {
	_ = json.Unmarshal(o.fields["traceback"], &traceback) // checked when it was read
	return text(o.fields["ename"]), text(o.fields["evalue"]), traceback
}

// MIME returns what is shown in one form, such as text/html, and whether the output has that form. Images are in base64.
func (o Output) MIME(form string) (string, bool) {
	raw, ok := o.data()[form]
	return text(raw), ok
}

// Forms returns the forms that the output has, the sorted names of MIME types.
func (o Output) Forms() []string { return keys(o.data()) }

func (o Output) data() Object {
	var data Object
	if raw, ok := o.fields["data"]; ok {
		_ = json.Unmarshal(raw, &data) // checked when it was read
	}
	return data
}

// UnmarshalJSON reads an output; the error names the field that is wrong.
func (o *Output) UnmarshalJSON(raw []byte) error {
	fields, err := readOutput(raw)
	o.fields = fields
	return err
}

// text returns a JSON string, or the parts of a list of them joined; "" for anything else.
func text(raw jsontext.Value) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	var parts []string
	if json.Unmarshal(raw, &parts) == nil {
		return strings.Join(parts, "")
	}
	return ""
}
