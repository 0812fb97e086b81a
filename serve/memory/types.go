package memory

import (
	"encoding/json"
	"fmt"
	"math"
)

// Turn is something that was said.
type Turn struct {
	ID      string `json:"id" jsonschema:"id of the turn within its memory"`
	Session string `json:"session" jsonschema:"what groups the turns of one sitting or document"`
	Time    string `json:"time" jsonschema:"when it was said, in the words of its source; may be empty"`
	Speaker string `json:"speaker" jsonschema:"who said it; may be empty"`
	Text    string `json:"text" jsonschema:"what was said"`
}

// NewTurn is a turn to add. Only the text is needed.
type NewTurn struct {
	Text    string `json:"text" jsonschema:"what was said"`
	Speaker string `json:"speaker,omitempty" jsonschema:"who said it"`
	Time    string `json:"time,omitempty" jsonschema:"when it was said, such as 2025-03-03 10:04; now if left out"`
	Session string `json:"session,omitempty" jsonschema:"groups the turns of one sitting; the day if left out"`
	ID      string `json:"id,omitempty" jsonschema:"id of the turn; adding the same turn with the same id again changes nothing"`
}

// AddRequest adds turns to the end of a memory, which is made if need be.
type AddRequest struct {
	Memory  string    `json:"memory,omitempty" jsonschema:"name of the memory"`
	Turns   []NewTurn `json:"turns" jsonschema:"what was said, in its order"`
	Expires string    `json:"expires,omitempty" jsonschema:"when the turns are forgotten by themselves: a day such as 2026-03-01, or how long they are kept such as 30d, or never"`
}

// AddResult says what was added.
type AddResult struct {
	Memory  string   `json:"memory"`
	New     int      `json:"new" jsonschema:"turns that were added"`
	Skipped int      `json:"skipped" jsonschema:"turns that were there already"`
	IDs     []string `json:"ids" jsonschema:"ids of the turns, in their order"`
}

// SearchRequest looks for turns. No language model is asked.
type SearchRequest struct {
	Memory string `json:"memory,omitempty" jsonschema:"name of the memory"`
	Query  string `json:"query" jsonschema:"what to look for, in words or as a question"`
	Limit  Count  `json:"limit,omitempty" jsonschema:"how many turns at most, 1 to 100; 10 if left out"`
	Before string `json:"before,omitempty" jsonschema:"only what was said before this day or time, such as 2025-03-03 or 2025-03-03T10:04:00Z"`
	After  string `json:"after,omitempty" jsonschema:"only what was said after this day or time, such as 2025-03-03"`
}

// Count is a number of things. In JSON 5 and 5.0 are the same, as some clients write the latter.
type Count int

// UnmarshalJSON implements json.Unmarshaler.
func (c *Count) UnmarshalJSON(data []byte) error {
	var f float64
	if err := json.Unmarshal(data, &f); err != nil {
		return err
	}
	if f != math.Trunc(f) || math.Abs(f) > 1e9 {
		return fmt.Errorf("%.40s is no whole number, or too large", data)
	}
	*c = Count(f)
	return nil
}

// Found is a turn with how well it fits.
type Found struct {
	Turn
	Score float64 `json:"score" jsonschema:"how well the turn fits, higher is better"`
}

// SearchResult holds the turns that fit best, best first.
type SearchResult struct {
	Turns []Found `json:"turns"`
}

// AskRequest asks a question. Budget and MaxDollars may be left out.
type AskRequest struct {
	Memory     string   `json:"memory,omitempty" jsonschema:"name of the memory"`
	Question   string   `json:"question" jsonschema:"the question, in a sentence"`
	Budget     string   `json:"budget,omitempty" jsonschema:"how much extraction the answer is worth: the tier of every module, the cheapest is listed first"`
	MaxDollars *float64 `json:"max_dollars,omitempty" jsonschema:"hard limit of what the answer may cost, in dollars"`
	Before     string   `json:"before,omitempty" jsonschema:"only what was said before this day or time, such as 2025-03-03 or 2025-03-03T10:04:00Z"`
	After      string   `json:"after,omitempty" jsonschema:"only what was said after this day or time, such as 2025-03-03"`
	// MinConfidence withholds an answer whose expected score is lower; it needs a server with a calibration.
	MinConfidence *float64 `json:"min_confidence,omitempty" jsonschema:"least confidence, 0 to 1, that an answer needs to be given; only where answers have a confidence"`
	// MinAnswerable withholds an answer where the probability that the memory answers the question is lower; it needs such a calibration.
	MinAnswerable *float64 `json:"min_answerable,omitempty" jsonschema:"least probability, 0 to 1, that the memory answers the question at all; only where that is known"`
	Steps         bool     `json:"steps,omitempty" jsonschema:"also return each step with its tier, time and cost"`
}

// AskResult is an answer with what it rests on and what it cost.
type AskResult struct {
	Answer string `json:"answer" jsonschema:"empty if it was withheld"`
	// Confidence is nil where the server has no calibration for the model that answered.
	Confidence   *float64          `json:"confidence,omitempty" jsonschema:"how good the answer is expected to be, 0 to 1; left out where that is not known"`
	Answerable   *float64          `json:"answerable,omitempty" jsonschema:"probability, 0 to 1, that the memory answers the question at all; left out where that is not known"`
	Abstained    bool              `json:"abstained,omitempty" jsonschema:"true if the answer was withheld, as confidence or answerable is below what was asked for or not known"`
	Evidence     []Turn            `json:"evidence" jsonschema:"the turns that the answer was made from, best first"`
	Tiers        map[string]string `json:"tiers" jsonschema:"the tier that each module ran at"`
	TokensIn     int               `json:"tokens_in"`
	TokensOut    int               `json:"tokens_out"`
	Dollars      float64           `json:"dollars" jsonschema:"what the model calls cost together"`
	Milliseconds float64           `json:"milliseconds" jsonschema:"how long it took"`
	Steps        []Step            `json:"steps,omitempty" jsonschema:"the way to the answer, if steps was asked for"`
	Budget       *Budget           `json:"budget,omitempty" jsonschema:"what may still be spent; left out where there is no limit"`
}

// Step is a part of a question's way to its answer.
type Step struct {
	Step         string  `json:"step" jsonschema:"retrieve, a module, or answer"`
	Tier         string  `json:"tier,omitempty" jsonschema:"the tier that the module ran at"`
	Why          string  `json:"why,omitempty" jsonschema:"why that is another tier than the one asked for"`
	Start        float64 `json:"start" jsonschema:"milliseconds after the question"`
	Milliseconds float64 `json:"milliseconds"`
	Dollars      float64 `json:"dollars"`
}

// ListResult describes the memories that a scope reaches.
type ListResult struct {
	Memories []Info `json:"memories"`
}

// Info describes a memory.
type Info struct {
	Name     string `json:"name"`
	Turns    int    `json:"turns"`
	Sessions int    `json:"sessions"`
	Bytes    int64  `json:"bytes" jsonschema:"of text"`
	Changed  string `json:"changed" jsonschema:"when it was last changed, RFC 3339; empty if that is not known"`
}

// GetRequest reads turns of a memory, page by page.
type GetRequest struct {
	Memory  string `json:"memory,omitempty" jsonschema:"name of the memory"`
	Session string `json:"session,omitempty" jsonschema:"only turns of this session"`
	Speaker string `json:"speaker,omitempty" jsonschema:"only turns of this speaker"`
	Cursor  string `json:"cursor,omitempty" jsonschema:"next of the page before"`
	Limit   Count  `json:"limit,omitempty" jsonschema:"how many turns at most, 1 to 1000; 100 if left out"`
}

// Page is a part of a memory's turns.
type Page struct {
	Turns []Turn `json:"turns"`
	Next  string `json:"next" jsonschema:"cursor of the next page; empty if this is the last"`
}

// DeleteRequest forgets a turn, a session, everything of a speaker, or the whole memory: one of them, which it names.
type DeleteRequest struct {
	Memory  string `json:"memory,omitempty" jsonschema:"name of the memory"`
	Turn    string `json:"turn,omitempty" jsonschema:"id of a turn to forget"`
	Session string `json:"session,omitempty" jsonschema:"a session to forget"`
	Speaker string `json:"speaker,omitempty" jsonschema:"forget everything that this speaker said"`
	All     bool   `json:"all,omitempty" jsonschema:"forget the whole memory"`
}

// DeleteResult says how much was forgotten.
type DeleteResult struct {
	Turns    int `json:"turns"`
	Memories int `json:"memories" jsonschema:"memories of which nothing is left"`
}
