package conversation

import (
	"bufio"
	"bytes"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/budgetmem/budgetmem/bmem/chunk"
)

var (
	// messageRE finds the date, the time and what follows in the first line of a message:
	// "3/3/25, 7:02 PM - Rita: Hello" or "[03.03.25, 19:02:11] Rita: Hello".
	messageRE = regexp.MustCompile(`^\[?(\d{1,4}[./-] ?\d{1,2}[./-] ?\d{1,4})\.?,? +(\d{1,2}[:.]\d{2}(?:[:.]\d{2})?(?: ?[AaPp]\.? ?[Mm]\.?)?)(?:\] | [-–] )(.*)$`)
	// saidRE parts who says something from what is said.
	saidRE = regexp.MustCompile(`^([^:]{1,60}): ?(.*)$`)
	// invisible are the marks of direction, and the spaces that are no plain ones.
	invisible = strings.NewReplacer(byProgram, "", "\u200f", "", "\u202a", "", "\u202c", "", "\u202f", " ", "\u00a0", " ")
)

// headLines is how many lines may stand before the first message of a log.
const headLines = 20

// isChatLog tells whether a file that begins so is a log of messages.
func isChatLog(head []byte) bool {
	n := 0
	for line := range bytes.Lines(head) {
		if n++; n > headLines {
			break
		}
		if messageRE.MatchString(invisible.Replace(strings.TrimRight(string(line), "\r\n"))) {
			return true
		}
	}
	return false
}

// chatLog reads a log of messages as WhatsApp exports it. A message goes on until the next one.
func (c *collector) chatLog(r io.Reader) *LineError {
	c.Form = "a WhatsApp export"
	var open chunk.Turn      // the last one that was said
	var first string         // its first line, with the marks of what the program writes
	var more strings.Builder // what follows
	said, began := false, 0
	end := func() *LineError {
		if !said {
			return nil
		}
		said = false
		m := message{turn: open}
		m.whatsApp(first, more.String())
		more.Reset()
		if !c.take(m) {
			return nil
		}
		return c.add(m.turn, began)
	}
	bad := eachLine(r, func(line string, n int, part bool) *LineError {
		var m []string
		if !part {
			m = messageRE.FindStringSubmatch(invisible.Replace(line))
		}
		switch {
		case m == nil && said && part:
			more.WriteString(line)
			return nil
		case m == nil && said:
			more.WriteString("\n" + line)
			return nil
		case m == nil:
			return nil
		}
		if bad := end(); bad != nil {
			return bad
		}
		words := saidRE.FindStringSubmatch(m[3])
		if words == nil || strings.Count(words[1], `"`)%2 == 1 { // somebody joined, or named the group "Plan: mill"
			c.leave(leftNotices)
			return nil
		}
		open = chunk.Turn{Session: m[1], Time: m[1] + ", " + m[2], Speaker: strings.TrimSpace(words[1])}
		said, began, first = true, n, asWritten(line, words[2])
		return nil
	})
	if bad != nil {
		return bad
	}
	return end()
}

// longestPart is how much of a line is read at once.
const longestPart = 1 << 16

// eachLine calls do with each line, without its end, and its number. A very long line comes in parts; part is set for all but the
// first.
func eachLine(r io.Reader, do func(line string, n int, part bool) *LineError) *LineError {
	in := bufio.NewReaderSize(r, longestPart)
	carry := "" // begins a character that the part before it was too short for
	part := false
	for n := 1; ; {
		raw, err := in.ReadSlice('\n')
		line := carry + string(raw)
		carry = ""
		full := err == bufio.ErrBufferFull
		if full {
			line, carry = wholeCharacters(line)
		}
		if err != nil && !full && line == "" {
			return nil
		}
		if !utf8.ValidString(line) {
			return &LineError{Line: n, Msg: "not UTF-8; save the file in that encoding"}
		}
		if bad := do(strings.TrimRight(line, "\r\n"), n, part); bad != nil {
			if bad.Line == 0 {
				bad.Line = n
			}
			return bad
		}
		switch {
		case full:
			part = true
		case err != nil:
			return nil
		default:
			part = false
			n++
		}
	}
}

// wholeCharacters cuts off the beginning of a character at the end of s.
func wholeCharacters(s string) (whole, rest string) {
	for i := len(s) - 1; i >= 0 && i > len(s)-utf8.UTFMax; i-- {
		if utf8.RuneStart(s[i]) {
			if !utf8.FullRuneInString(s[i:]) {
				return s[:i], s[i:]
			}
			break
		}
	}
	return s, ""
}
