package notebook

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// A script is a Go file as far as its cells are Go:
//
//	//go:build ignore
//
//	package main
//
//	//%% [notebook]
//	// {"budgetmem": {"shows": ["chart:frontier"]}}
//
//	//%% [markdown]
//	// # A title
//
//	//%% tags=["parameters"]
//
//	var questions = 12
//
//	//%%
//
//	func main() { //gonb:%%
//		fmt.Println(questions)
//	}
//
// The cell [notebook] holds the metadata of the notebook, less what New gives every one; null stands for what is not
// there. [magic] marks code that is not Go, because of a first line such as %%bash; its lines are comments, as those of text
// are. Behind the kind may stand #ID, where it is not derived from the content, metadata as key=JSON or as one JSON object,
// and @attachments=JSON. GoNB's commands, lines that begin with % or !, stand behind //gonb:, and the command %%, which makes
// the rest of the cell a function main, stands as that function. A line that would be read as one of these marks has a
// backslash before the mark.
const (
	preamble    = "//go:build ignore\n\npackage main\n"
	commandMark = "//gonb:"
	mainMark    = "func main() { " + commandMark
)

// The cells that are of no Kind.
const (
	notebookCell = "notebook"
	magicCell    = "magic"
)

var (
	marker = regexp.MustCompile(`^// ?%%(\s.*)?$`)
	// mark matches lines that mean something in a script, and those with backslashes before the mark.
	mark    = regexp.MustCompile(`^(// ?)(\\*%%(?:\s.*)?)$|^((?:func main\(\) \{ )?//)(\\*gonb:.*)$`)
	escaped = regexp.MustCompile(`^(// ?)\\(\\*%%(?:\s.*)?)$|^((?:func main\(\) \{ )?//)\\(\\*gonb:.*)$`)
	// magic is the first line of a cell in another language; a lone %% begins a function main.
	magic    = regexp.MustCompile(`^(?:` + commandMark + `)?%%[a-zA-Z]`)
	mainLine = regexp.MustCompile(`^(?:%%|%main)(?:\s.*)?$`)
	keyForm  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*$`)
)

// isCommand reports whether a line of a cell is a command to GoNB.
func isCommand(line string) bool {
	return strings.HasPrefix(line, "%") || strings.HasPrefix(line, "!") || strings.HasPrefix(line, commandMark)
}

// Script writes the notebook as a Go script, without outputs. ParseScript reads the same notebook from it.
func (nb *Notebook) Script() ([]byte, error) {
	var b bytes.Buffer
	b.WriteString(preamble)
	if len(nb.extra) > 0 {
		return nil, fmt.Errorf("a script has no place for the fields %q of the notebook", keys(nb.extra))
	}
	if header := nb.header(); len(header) > 0 {
		data := encode(header)
		if err := data.Format(jsontext.Multiline(true), jsontext.WithIndent("  "), jsontext.ReorderRawObjects(true)); err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "\n//%%%% [%s]\n", notebookCell)
		writeComment(&b, string(data))
	}
	used := map[string]bool{}
	for i := range nb.Cells {
		c := &nb.Cells[i]
		if len(c.extra) > 0 || c.Kind == Code && c.Attachments != nil {
			return nil, fmt.Errorf("cell %d: a script has no place for its fields %q", i+1, keys(c.extra))
		}
		b.WriteString("\n//%%")
		first, _, _ := strings.Cut(c.Source, "\n")
		foreign := c.Kind == Code && magic.MatchString(first)
		switch {
		case foreign:
			fmt.Fprintf(&b, " [%s]", magicCell)
		case c.Kind != Code:
			fmt.Fprintf(&b, " [%s]", c.Kind)
		}
		if c.ID != deriveID(c, used) {
			b.WriteString(" #" + c.ID)
		}
		used[c.ID] = true
		writeMetadata(&b, c)
		b.WriteByte('\n')
		switch {
		case foreign, c.Kind != Code:
			writeComment(&b, c.Source)
		case c.Source != "":
			b.WriteByte('\n') // else gofmt would take the marker for the documentation of what follows
			for _, line := range codeLines(c.Source) {
				b.WriteString(line + "\n")
			}
		}
	}
	return b.Bytes(), nil
}

// header returns the metadata that differs from the default.
func (nb *Notebook) header() Object {
	header := Object{}
	merge(header, nb.Metadata)
	for name, value := range defaults() {
		own, ok := header[name]
		switch {
		case !ok:
			header[name] = jsontext.Value("null")
		case equal(own, value):
			delete(header, name)
		}
	}
	return header
}

func equal(a, b jsontext.Value) bool {
	a, b = a.Clone(), b.Clone()
	return a.Canonicalize() == nil && b.Canonicalize() == nil && bytes.Equal(a, b)
}

func writeMetadata(b *bytes.Buffer, c *Cell) {
	if c.Attachments != nil {
		fmt.Fprintf(b, " @attachments=%s", encode(c.Attachments))
	}
	other := Object{}
	for _, key := range keys(c.Metadata) {
		value := encode(c.Metadata[key])
		if keyForm.MatchString(key) {
			fmt.Fprintf(b, " %s=%s", key, value)
		} else {
			other[key] = value
		}
	}
	if len(other) > 0 {
		fmt.Fprintf(b, " %s", encode(other))
	}
}

// writeComment writes text as lines of comments.
func writeComment(b *bytes.Buffer, text string) {
	if text == "" {
		return
	}
	for line := range strings.SplitSeq(text, "\n") {
		if line != "" {
			line = " " + line
		}
		b.WriteString(escape("//"+line) + "\n")
	}
}

// escape puts a backslash into a line that would be read as a mark.
func escape(line string) string { return mark.ReplaceAllString(line, `${1}${3}\${2}${4}`) }

func unescape(line string) string { return escaped.ReplaceAllString(line, `${1}${3}${2}${4}`) }

// codeLines returns the lines of a script for the lines of a cell.
func codeLines(source string) []string {
	var out []string
	indent := ""
	command := false
	var before string
	for line := range strings.SplitSeq(source, "\n") {
		command = command && strings.HasSuffix(before, `\`) || strings.HasPrefix(line, "%") || strings.HasPrefix(line, "!")
		before = line
		switch {
		case indent == "" && mainLine.MatchString(line) && !strings.HasSuffix(line, `\`):
			out = append(out, mainMark+line)
			indent = "\t"
			continue
		case command:
			line = commandMark + line
		default:
			line = escape(line)
		}
		if line != "" {
			line = indent + line
		}
		out = append(out, line)
	}
	if indent != "" {
		out = append(out, "}")
	}
	return out
}
