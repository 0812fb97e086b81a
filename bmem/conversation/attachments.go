package conversation

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/budgetmem/budgetmem/bmem/chunk"
)

// dataURLRE finds a data: URL (RFC 2397): its media type, and what follows the comma.
var dataURLRE = regexp.MustCompile(`data:([\w.+-]+/[\w.+-]+)?(?:;[\w.=+-]+)*?(;base64)?,([^\s"'<>)\]}]{64,})`)

const (
	// longestWord is the length in bytes from which a word of letters and digits is taken for encoded data.
	longestWord = 512
	// shortestLine, longestLine and leastLines say what encoded data looks like in a mail or a key file: lines of base64.
	shortestLine, longestLine, leastLines = 60, 76, 8
)

// noteAttachments puts a short note, such as "[attachment: image/png, 37 kB]", in place of each picture or file that is
// written into a text as a data: URL, as base64 or as hexadecimal digits. No word of it can answer a question, and a language
// model would be paid to read it.
func noteAttachments(text string) string {
	if len(text) < 64 {
		return text
	}
	text = dataURLRE.ReplaceAllStringFunc(text, func(s string) string {
		m := dataURLRE.FindStringSubmatch(s)
		size := len(m[3])
		if m[2] != "" {
			size = size * 3 / 4
		}
		return attachment(m[1], size)
	})
	var b strings.Builder
	last := 0
	for i := 0; i < len(text); {
		end := blobEnd(text, i)
		if end-i >= longestWord {
			if note := blobNote(text[i:end]); note != "" {
				b.WriteString(text[last:i] + note)
				last = end
			}
		}
		i = max(end, i+1)
	}
	return b.String() + text[last:]
}

// blobEnd returns where the encoded data that begins at i ends: a word, or lines of it.
func blobEnd(text string, i int) int {
	end := wordEnd(text, i)
	lines := 1
	for n, at := end-i, end; n >= shortestLine && n <= longestLine; lines++ {
		next := at
		if strings.HasPrefix(text[next:], "\r") {
			next++
		}
		if !strings.HasPrefix(text[next:], "\n") {
			break
		}
		at = wordEnd(text, next+1)
		if n = at - next - 1; n == 0 || n > longestLine {
			break
		}
		if lines+1 >= leastLines {
			end = at
		}
	}
	return end
}

// wordEnd returns where the characters of base64 from i on end.
func wordEnd(text string, i int) int {
	for i < len(text) && (text[i] >= 'a' && text[i] <= 'z' || text[i] >= 'A' && text[i] <= 'Z' || text[i] >= '0' && text[i] <= '9' ||
		text[i] == '+' || text[i] == '/' || text[i] == '_' || text[i] == '-') {
		i++
	}
	for i < len(text) && text[i] == '=' {
		i++
	}
	return i
}

// blobNote is the note for encoded data, "" if it is a long word or number.
func blobNote(s string) string {
	const digits, letters = "0123456789", "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	switch {
	case !strings.ContainsAny(s, digits) || !strings.ContainsAny(s, letters):
		return ""
	case strings.Trim(strings.ToLower(s), "0123456789abcdef") == "":
		return attachment("", len(s)/2)
	}
	return attachment(sniff(s), len(s)*3/4)
}

// attachment is the note for a file of a media type, which may be unknown, and a size in bytes.
func attachment(mediaType string, size int) string {
	if mediaType == "" {
		mediaType = "data"
	}
	return fmt.Sprintf("[attachment: %s, %s]", mediaType, humanize.Bytes(uint64(size)))
}

// sniff returns the media type of base64 text by what it begins with, "" if that says nothing.
func sniff(s string) string {
	head := make([]byte, 384)
	n, _ := base64.StdEncoding.Decode(head, []byte(s[:min(512, len(s)/4*4)])) // what is not base64 is of no known type
	if t := http.DetectContentType(head[:n]); n > 0 && t != "application/octet-stream" && !strings.HasPrefix(t, "text/") {
		return t
	}
	return ""
}

// WithoutAttachments returns the turns with a note in place of each attachment. The given slice is not changed.
func WithoutAttachments(turns []chunk.Turn) []chunk.Turn {
	out := make([]chunk.Turn, len(turns))
	for i, t := range turns {
		t.Text = noteAttachments(t.Text)
		out[i] = t
	}
	return out
}
