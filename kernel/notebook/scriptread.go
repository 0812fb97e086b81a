package notebook

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// boilerplate is what stands before the first cell without being a part of one.
var boilerplate = regexp.MustCompile(`^(?:\s*|//go:build .*|package \w+\s*)$`)

// ParseScript reads a Go script. A file without marks is one cell. The error names the line of what is wrong.
func ParseScript(data []byte) (*Notebook, error) {
	lines := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
	var starts []int // indices of the lines with marks
	for i, line := range lines {
		if !utf8.ValidString(line) {
			return nil, fmt.Errorf("line %d: not UTF-8", i+1)
		}
		if marker.MatchString(line) {
			starts = append(starts, i)
		}
	}
	nb := &Notebook{Metadata: defaults(), minor: minor}
	starts = append(starts, len(lines))
	if c := unmarked(lines[:starts[0]]); c.Source != "" {
		nb.Cells = append(nb.Cells, c)
	}
	ids := map[string]bool{}
	for i, start := range starts[:len(starts)-1] {
		body := lines[start+1 : starts[i+1]]
		last := starts[i+1] == len(lines)
		kind, c, err := parseMarker(lines[start])
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", start+1, err)
		}
		if c.ID != "" && ids[c.ID] {
			return nil, fmt.Errorf("line %d: field id: %q is the ID of an earlier cell too", start+1, c.ID)
		}
		ids[c.ID] = true
		var fault *lineError
		switch kind {
		case "":
			fault = c.readCode(body, last)
		case magicCell, string(Markdown), string(Raw):
			c.Source, fault = readComment(body)
		case notebookCell:
			if i > 0 || len(nb.Cells) > 0 {
				return nil, fmt.Errorf("line %d: [%s] is not the first cell", start+1, notebookCell)
			}
			if err := nb.readHeader(body); err != nil {
				return nil, fmt.Errorf("line %d: [%s]: %w", start+1, notebookCell, err)
			}
			continue
		default:
			return nil, fmt.Errorf("line %d: [%s] is none of [%s], [%s], [%s], [%s]", start+1, kind, notebookCell, Markdown, Raw, magicCell)
		}
		if fault != nil {
			return nil, fmt.Errorf("line %d: %s", start+2+fault.line, fault.what)
		}
		c.Line += start + 2
		nb.Cells = append(nb.Cells, c)
	}
	nb.identify()
	return nb, nil
}

// lineError is what is wrong with a line of a cell, counted from 0.
type lineError struct {
	line int
	what string
}

// unmarked returns what stands before the first mark as a cell, without what makes the script a Go file.
func unmarked(lines []string) Cell {
	c := Cell{Kind: Code, Metadata: Object{}, Line: 1}
	lines = slices.Clone(lines)
	for i, line := range lines {
		if boilerplate.MatchString(line) {
			lines[i] = ""
		}
	}
	for len(lines) > 0 && lines[0] == "" {
		lines = lines[1:]
		c.Line++
	}
	c.Source = strings.TrimRight(strings.Join(lines, "\n"), "\n")
	return c
}

// readCode reads Go code; Line is set from 0. Behind all cells but the last stands one empty line.
func (c *Cell) readCode(body []string, last bool) *lineError {
	if len(body) > 0 && body[0] == "" {
		body, c.Line = body[1:], 1
	}
	if n := len(body); n > 0 && body[n-1] == "" && !last {
		body = body[:n-1]
	}
	out := make([]string, 0, len(body))
	inMain := false
	for i, line := range body {
		if begin, ok := strings.CutPrefix(line, mainMark); ok && !inMain {
			if !mainLine.MatchString(begin) {
				return &lineError{c.Line + i, fmt.Sprintf("want %s%%%%, the function that holds the rest of the cell", mainMark)}
			}
			inMain = true
			for len(body) > 0 && strings.TrimSpace(body[len(body)-1]) == "" {
				body = body[:len(body)-1]
			}
			if body[len(body)-1] != "}" {
				return &lineError{c.Line + len(body) - 1, "want }, the end of func main, which holds the rest of the cell"}
			}
			body = body[:len(body)-1]
			out = append(out, begin)
			continue
		}
		if i >= len(body) {
			break // the end of func main
		}
		if inMain {
			line = strings.TrimPrefix(line, "\t")
		}
		if command, ok := strings.CutPrefix(line, commandMark); ok {
			line = command
		} else {
			line = unescape(line)
		}
		out = append(out, line)
	}
	c.Source = strings.Join(out, "\n")
	return nil
}

// readComment reads text from lines of comments, around which lines may be empty.
func readComment(body []string) (string, *lineError) {
	for len(body) > 0 && strings.TrimSpace(body[len(body)-1]) == "" {
		body = body[:len(body)-1]
	}
	out := make([]string, 0, len(body))
	for i, line := range body {
		text, ok := strings.CutPrefix(unescape(line), "//")
		if !ok && strings.TrimSpace(line) != "" {
			return "", &lineError{i, "want a comment, as the lines of text are"}
		}
		if !ok && len(out) == 0 {
			continue
		}
		out = append(out, strings.TrimPrefix(text, " "))
	}
	return strings.Join(out, "\n"), nil
}

// readHeader reads the notebook's metadata.
func (nb *Notebook) readHeader(body []string) error {
	source, fault := readComment(body)
	if fault != nil {
		return errors.New(fault.what)
	}
	if err := wellFormed([]byte(source)); err != nil {
		return err
	}
	header, err := readObject("", []byte(source))
	if err != nil {
		return err
	}
	merge(nb.Metadata, header.left)
	for name := range defaults() {
		if nb.Metadata[name].Kind() == 'n' {
			delete(nb.Metadata, name)
		}
	}
	return nb.checkMetadata()
}

// parseMarker reads a mark: the kind in brackets, "" for Go code, and the cell's ID and metadata.
func parseMarker(line string) (kind string, c Cell, err error) {
	_, rest, _ := strings.Cut(line, "%%")
	rest = strings.TrimSpace(rest)
	if strings.HasPrefix(rest, "[") {
		var ok bool
		if kind, rest, ok = strings.Cut(rest[1:], "]"); !ok {
			return "", c, errors.New("no ] behind [")
		}
	}
	c = Cell{Kind: Code, Metadata: Object{}}
	if kind == string(Markdown) || kind == string(Raw) {
		c.Kind = Kind(kind)
	}
	for rest = strings.TrimSpace(rest); rest != ""; rest = strings.TrimSpace(rest) {
		found := Object{}
		word := strings.Fields(rest)[0]
		key, _, isPair := strings.Cut(word, "=")
		switch {
		case strings.HasPrefix(rest, "#"):
			c.ID, rest = word[1:], rest[len(word):]
			if err := checkID(c.ID); err != nil {
				return "", c, err
			}
		case strings.HasPrefix(rest, "{"):
			var value jsontext.Value
			if value, rest, err = cutJSON(rest); err != nil {
				return "", c, err
			}
			object, err := readObject("", value)
			if err != nil {
				return "", c, err
			}
			found = object.left
		case isPair && (keyForm.MatchString(key) || key == "@attachments"):
			var value jsontext.Value
			if value, rest, err = cutJSON(rest[len(key)+1:]); err != nil {
				return "", c, fmt.Errorf("%s: %w", key, err)
			}
			if key != "@attachments" {
				found[key] = value
				break
			}
			var files map[string]Object
			if json.Unmarshal(value, &files) != nil || c.Kind == Code || c.Attachments != nil {
				return "", c, errors.New("@attachments is for text, once, and an object of objects")
			}
			c.Attachments = attachments(files)
		default:
			return "", c, fmt.Errorf(`%q is neither [kind], #ID, key=JSON nor {"key": JSON}`, word)
		}
		for key, value := range found {
			if _, ok := c.Metadata[key]; ok {
				return "", c, fmt.Errorf("%s stands twice", key)
			}
			c.Metadata[key] = value
		}
	}
	return kind, c, checkTags(c.Metadata)
}

// cutJSON reads one JSON value, and returns what follows it.
func cutJSON(s string) (jsontext.Value, string, error) {
	decoder := jsontext.NewDecoder(strings.NewReader(s))
	value, err := decoder.ReadValue()
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = errors.New("a JSON value is missing")
	}
	if err != nil {
		var where *jsontext.SyntacticError
		if errors.As(err, &where) {
			err = where.Err
		}
		return nil, "", err
	}
	return bytes.Clone(value), s[decoder.InputOffset():], nil
}
