package conversation

import (
	"bytes"
	"cmp"
	"io"
	"path/filepath"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/budgetmem/budgetmem/bmem/chunk"
)

const (
	// longestParagraph is the length in bytes from which a paragraph is several turns.
	longestParagraph = 4096
	// deepestHeading is how many levels of headings Markdown has.
	deepestHeading = 6
)

var (
	headingRE = regexp.MustCompile(`^ {0,3}(#{1,6})[ \t]+(.*?)[ \t]*#*[ \t]*$`)
	// underlineRE finds what makes a heading of the line above it.
	underlineRE = regexp.MustCompile(`^ {0,3}(=+|-+)[ \t]*$`)
	fenceRE     = regexp.MustCompile("^ {0,3}(```+|~~~+)")
	itemRE      = regexp.MustCompile(`^ {0,3}(?:[-*+]|\d{1,9}[.)])[ \t]+\S`)
	// wordlessRE finds what has no words: a rule, a picture, a comment.
	wordlessRE = regexp.MustCompile(`^(?:\s*(?:!\[[^\]]*\]\([^)]*\)|<!--[\s\S]*?-->|(?:[-*_][ \t]*){3,}|<img [^>]*>))+\s*$`)
	markdownRE = regexp.MustCompile(`(?m)^ {0,3}(?:#{1,6}[ \t]+\S|` + "```" + `)`)
)

// binaries says what files that are no text begin with.
var binaries = []struct{ begin, what string }{
	{"%PDF-", "a PDF file; turn it into text first, with pdftotext for example"},
	{"PK\x03\x04", "a packed file, such as a zip archive or an office document; unpack it, or save it as text"},
	{"\xd0\xcf\x11\xe0", "an old office document; save it as text"},
	{"\x1f\x8b", "a packed file; unpack it with gunzip"},
	{"SQLite format 3\x00", "a database; export the conversation from the program that it belongs to"},
	{"\xff\xfe", "not UTF-8 but UTF-16; save the file as UTF-8"},
	{"\xfe\xff", "not UTF-8 but UTF-16; save the file as UTF-8"},
}

// document reads Markdown or plain text. Each section, by its headings, is a session; each paragraph and item of a list a turn.
func (c *collector) document(r io.Reader, name string, head []byte) *LineError {
	for _, b := range binaries {
		if bytes.HasPrefix(head, []byte(b.begin)) {
			return &LineError{Line: 1, Msg: b.what}
		}
	}
	if bytes.IndexByte(head, 0) >= 0 {
		return &LineError{Line: 1 + bytes.Count(head[:bytes.IndexByte(head, 0)], []byte("\n")), Msg: "not a text: it holds a zero byte"}
	}
	base := filepath.Base(name)
	ext := filepath.Ext(base)
	d := document{c: c, title: strings.TrimSpace(strings.TrimSuffix(base, ext))}
	switch d.title {
	case "", "-", ".", "<stdin>":
		d.title = "document"
	}
	switch strings.ToLower(ext) {
	case ".md", ".markdown", ".mdown", ".mkd", ".mdx":
		d.markdown = true
	default:
		d.markdown = markdownRE.Match(head)
	}
	c.Form = "a text document"
	if d.markdown {
		c.Form = "a Markdown document"
	}
	if bad := eachLine(r, d.line); bad != nil {
		return bad
	}
	return d.flush()
}

// document is a document as far as it is read.
type document struct {
	c        *collector
	title    string
	markdown bool
	headings [deepestHeading]string
	lines    []string // of the paragraph that is open
	size     int      // of these
	first    int      // line of the first
	fence    string   // what ends the code that is open
	matter   bool     // in the front matter, between lines of ---
}

// line takes the next line.
func (d *document) line(line string, n int, part bool) *LineError {
	plain := !d.markdown || part
	switch {
	case !plain && n == 1 && strings.TrimRight(line, " \t") == "---":
		d.matter = true
		return nil
	case d.matter:
		if end := strings.TrimRight(line, " \t"); end == "---" || end == "..." {
			d.matter = false
			d.c.leave(leftMarks)
		}
		return nil
	case !plain && d.fence != "":
		if strings.HasPrefix(strings.TrimLeft(line, " "), d.fence) && strings.Trim(line, " \t"+d.fence[:1]) == "" {
			d.fence = ""
		}
		return d.take(line, n)
	case strings.TrimSpace(line) == "" && !part:
		return d.flush()
	case plain:
		return d.take(line, n)
	}
	if m := fenceRE.FindStringSubmatch(line); m != nil {
		d.fence = m[1]
		return d.take(line, n)
	}
	if m := headingRE.FindStringSubmatch(line); m != nil {
		if bad := d.flush(); bad != nil {
			return bad
		}
		d.heading(len(m[1]), m[2])
		return nil
	}
	if m := underlineRE.FindStringSubmatch(line); m != nil && len(d.lines) == 1 && !itemRE.MatchString(d.lines[0]) {
		title := d.lines[0]
		d.lines, d.size = nil, 0
		level := 1
		if m[1][0] == '-' {
			level = 2
		}
		d.heading(level, title)
		return nil
	}
	if itemRE.MatchString(line) {
		if bad := d.flush(); bad != nil {
			return bad
		}
	}
	return d.take(line, n)
}

// heading begins a section.
func (d *document) heading(level int, title string) {
	d.headings[level-1] = strings.TrimSpace(title)
	clear(d.headings[level:])
}

// take adds a line to the paragraph.
func (d *document) take(line string, n int) *LineError {
	if len(d.lines) > 0 && d.size+len(line) > longestParagraph {
		if bad := d.flush(); bad != nil {
			return bad
		}
	}
	if len(d.lines) == 0 {
		d.first = n
	}
	d.lines, d.size = append(d.lines, line), d.size+len(line)+1
	return nil
}

// flush ends the paragraph.
func (d *document) flush() *LineError {
	text := strings.TrimSpace(strings.Join(d.lines, "\n"))
	d.lines, d.size = nil, 0
	if text == "" {
		return nil
	}
	if d.markdown && wordlessRE.MatchString(text) {
		d.c.leave(leftMarks)
		return nil
	}
	session := d.title
	for _, h := range d.headings {
		if h != "" {
			session += " / " + h
		}
	}
	for text != "" {
		piece := text
		if len(text) > 2*longestParagraph { // a line that is longer than a paragraph
			piece = cutAtSpace(text, longestParagraph)
		}
		text = strings.TrimSpace(text[len(piece):])
		if piece = strings.TrimSpace(piece); piece == "" {
			continue
		}
		if bad := d.c.add(chunk.Turn{Session: cmp.Or(strings.TrimSpace(session), "document"), Text: piece}, d.first); bad != nil {
			return bad
		}
	}
	return nil
}

// cutAtSpace returns the beginning of s, of some n bytes at most, that ends before a space, or if there is none with a character.
func cutAtSpace(s string, n int) string {
	if i := strings.LastIndexAny(s[:n], " \t\n"); i > n/2 {
		return s[:i]
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
