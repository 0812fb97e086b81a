package conversation

import (
	"bytes"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/budgetmem/budgetmem/bmem/chunk"
)

// chatLog is a conversation from a text file of messages, as WhatsApp exports it.
type chatLog struct {
	form    string
	turns   []chunk.Turn
	lines   []int
	skipped int
}

var (
	// messageRE finds the date, the time and what follows in the first line of a message:
	// "3/3/25, 7:02 PM - Rita: Hello" or "[03.03.25, 19:02:11] Rita: Hello".
	messageRE = regexp.MustCompile(`^\[?(\d{1,4}[./-] ?\d{1,2}[./-] ?\d{1,4})\.?,? +(\d{1,2}[:.]\d{2}(?:[:.]\d{2})?(?: ?[AaPp]\.? ?[Mm]\.?)?)(?:\] | [-–] )(.*)$`)
	// saidRE parts who says something from what is said.
	saidRE = regexp.MustCompile(`^([^:]{1,60}): ?(.*)$`)
	// omittedRE finds what stands in place of a picture or a deleted message.
	omittedRE = regexp.MustCompile(`^(?:<[^<>]*>|\S+ omitted)$`)
	// invisible are the marks of direction, and the spaces that are no plain ones.
	invisible = strings.NewReplacer("\u200e", "", "\u200f", "", "\u202a", "", "\u202c", "", "\u202f", " ", "\u00a0", " ")
)

// headLines is how many lines may stand before the first message of a log.
const headLines = 20

// parseChatLog reads a log of messages; ok is false if the file is none.
func parseChatLog(data []byte) (c chatLog, ok bool) {
	if !utf8.Valid(data) {
		return c, false
	}
	c.form = "a WhatsApp export"
	n := 0
	for raw := range bytes.SplitSeq(data, []byte("\n")) {
		n++
		line := strings.TrimRight(string(raw), "\r")
		m := messageRE.FindStringSubmatch(invisible.Replace(line))
		switch {
		case m == nil && n > headLines && !ok:
			return c, false
		case m == nil && ok && len(c.turns) > 0: // a message goes on
			c.turns[len(c.turns)-1].Text += "\n" + line
			continue
		case m == nil:
			continue
		}
		ok = true
		said := saidRE.FindStringSubmatch(m[3])
		if said == nil { // somebody joined
			c.skipped++
			continue
		}
		c.turns = append(c.turns, chunk.Turn{Session: m[1], Time: m[1] + ", " + m[2], Speaker: strings.TrimSpace(said[1]), Text: said[2]})
		c.lines = append(c.lines, n)
	}
	turns, lines := c.turns, c.lines
	c.turns, c.lines = nil, nil
	for i, t := range turns {
		if t.Text = strings.TrimSpace(t.Text); t.Text == "" || omittedRE.MatchString(t.Text) {
			c.skipped++
			continue
		}
		c.turns, c.lines = append(c.turns, t), append(c.lines, lines[i])
	}
	return c, ok
}
