// Package chunk holds the two units that memory is made of, turns and chunks, and packs the one into the other.
//
// It imports the standard library only, so that data sets, stores, tiers and the memory itself can share the types.
package chunk

import "strings"

// Turn is one utterance of a conversation, or one sentence of a document.
type Turn struct {
	// ID names the turn inside its history, such as "D1:3". Evidence is given in these ids.
	ID string `json:"id"`
	// Session groups turns that belong together (a sitting, a document). A chunk never crosses sessions.
	Session string `json:"session"`
	// Time is when the session took place, in the words of its source; "" if unknown.
	Time string `json:"time,omitempty"`
	// Speaker is who said it; "" for documents.
	Speaker string `json:"speaker,omitempty"`
	// Text is what was said, a shared picture's caption included.
	Text string `json:"text"`
}

// String renders the turn for readers, people and models: `SPEAKER said, "TEXT"`, or the bare text when nobody speaks. Whatever
// the text says, it ends where it ends and nothing in it begins a turn of its own: see Quotable. Each line of it but the first
// begins with ">".
func (t Turn) String() string {
	t = t.Quotable()
	t.Text = marked(t.Text)
	if t.Speaker == "" && headRE.MatchString(t.Text) {
		return "> " + t.Text // such lines are headings and dates of notes
	}
	return t.Raw()
}

// Line is String on one line.
func (t Turn) Line() string {
	t.Text = oneLine(t.Text)
	return t.String()
}

// Raw renders the turn as it is embedded, searched and counted: as String does, with the speaker and the text as they were given.
// It is not for readers.
func (t Turn) Raw() string {
	if t.Speaker == "" {
		return t.Text
	}
	return t.Speaker + ` said, "` + t.Text + `"`
}

// Chunk is a run of consecutive turns of one session, at most a given number of tokens long: what retrieval returns.
type Chunk struct {
	// ID is unique inside a history and stable for the same turns.
	ID string `json:"id"`
	// Session and Time are those of the chunk's turns.
	Session string `json:"session"`
	Time    string `json:"time,omitempty"`
	// Turns holds the turns in order. A turn longer than a chunk appears in several, each with its part of the text.
	Turns []Turn `json:"turns"`
	// Tokens is the length of Text by the tokenizer the chunk was cut with.
	Tokens int `json:"tokens"`
}

// Text renders the chunk's turns as they are embedded, searched and counted, one after the other, each on a line of its own; see
// Turn.Raw.
func (c Chunk) Text() string { return c.lines(Turn.Raw) }

// String renders the chunk's turns for readers, one after the other; see Turn.String.
func (c Chunk) String() string { return c.lines(Turn.String) }

func (c Chunk) lines(render func(Turn) string) string {
	lines := make([]string, len(c.Turns))
	for i, t := range c.Turns {
		lines[i] = render(t)
	}
	return strings.Join(lines, "\n")
}

// TurnIDs returns the ids of the chunk's turns in order.
func (c Chunk) TurnIDs() []string {
	ids := make([]string, len(c.Turns))
	for i, t := range c.Turns {
		ids[i] = t.ID
	}
	return ids
}
