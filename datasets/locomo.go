package datasets

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/datasets/score"
)

// locomoSpec is LoCoMo: ten long conversations between two people, questions of categories 1 to 4. Category 5
// (adversarial questions) is a data set of its own, as the paper leaves it out.
// Conversations 0–5 are for training, 6–7 for validation, 8–9 for the test.
var locomoSpec = spec{
	name:        "locomo",
	summary:     "ten conversations of 19 to 32 sessions; multi-hop, temporal, open-domain and single-hop questions",
	licence:     "CC BY-NC 4.0",
	chunkTokens: 256,
	metric:      "locomo",
	index:       "locomo/locomo_splits.json",
	sources:     func(Split) []source { return []source{locomoFile} },
	read:        readLoCoMo((*locomoConversation).questions),
}

// locomoUnanswerableSpec is LoCoMo's category 5: questions about something that was never said. The right answer is a
// refusal. The conversations and their splits are LoCoMo's.
var locomoUnanswerableSpec = spec{
	name:        "locomo-unanswerable",
	summary:     "LoCoMo's fifth category: questions whose answer the conversation does not hold",
	licence:     "CC BY-NC 4.0",
	chunkTokens: 256,
	metric:      "locomo",
	index:       "locomo/locomo_unanswerable_splits.json",
	sources:     func(Split) []source { return []source{locomoFile} },
	read:        readLoCoMo((*locomoConversation).unanswerable),
}

func readLoCoMo(questions func(*locomoConversation, History) []Question) func(context.Context, Options, []source, func(string) bool, addFunc) error {
	return func(ctx context.Context, opts Options, files []source, want func(string) bool, add addFunc) error {
		return load(ctx, files[0], opts, func(c *locomoConversation) error {
			h := c.history()
			for _, q := range questions(c, h) {
				if want(q.ID) {
					add(q, h)
				}
			}
			return nil
		})
	}
}

var locomoFile = shippedSource("locomo/locomo10.json.gz")

type locomoConversation struct {
	ID           string                     `json:"sample_id"`
	Conversation map[string]json.RawMessage `json:"conversation"`
	QA           []struct {
		Question string     `json:"question"`
		Answer   score.Gold `json:"answer"`
		Category int        `json:"category"`
		Evidence []string   `json:"evidence"`
	} `json:"qa"`

	sessions []locomoSession // set by check
}

type locomoSession struct {
	number int
	date   string
	turns  []locomoTurn
}

type locomoTurn struct {
	Speaker string `json:"speaker"`
	ID      string `json:"dia_id"`
	Text    string `json:"text"`
	Caption string `json:"blip_caption"`
}

var sessionKey = regexp.MustCompile(`^session_(\d+)$`)

func (c *locomoConversation) check() error {
	if c.ID == "" {
		return missing("sample_id")
	}
	for key, raw := range c.Conversation {
		m := sessionKey.FindStringSubmatch(key)
		if m == nil {
			continue // a date, a speaker's name
		}
		field := "conversation." + key
		number, err := strconv.Atoi(m[1])
		if err != nil {
			return fmt.Errorf("field %q: session number: %w", field, err)
		}
		s := locomoSession{number: number}
		if err := json.Unmarshal(raw, &s.turns); err != nil {
			return fmt.Errorf("field %q: %w", field, unexpected(err))
		}
		if err := json.Unmarshal(c.Conversation[key+"_date_time"], &s.date); err != nil {
			return fmt.Errorf("field %q: want the session's date as text", field+"_date_time")
		}
		for i, t := range s.turns {
			if t.ID == "" {
				return missing(fmt.Sprintf("%s[%d].dia_id", field, i))
			}
			if t.Speaker == "" {
				return missing(fmt.Sprintf("%s[%d].speaker", field, i))
			}
		}
		c.sessions = append(c.sessions, s)
	}
	if len(c.sessions) == 0 {
		return missing("conversation.session_1")
	}
	slices.SortFunc(c.sessions, func(a, b locomoSession) int { return a.number - b.number })
	for i, q := range c.QA {
		field := fmt.Sprintf("qa[%d]", i)
		switch {
		case q.Category < 1 || q.Category > len(score.LoCoMoCategories):
			return fmt.Errorf("field %q is %d, want 1 to %d", field+".category", q.Category, len(score.LoCoMoCategories))
		case q.Question == "":
			return missing(field + ".question")
		case len(q.Answer) == 0 && q.Category != locomoAdversarial:
			return missing(field + ".answer")
		}
	}
	return nil
}

func (c *locomoConversation) history() History {
	h := History{ID: c.ID}
	for _, s := range c.sessions {
		for _, t := range s.turns {
			text := t.Text
			if t.Caption != "" {
				text = strings.TrimSpace(text + " [shared picture: " + t.Caption + "]")
			}
			h.Turns = append(h.Turns, chunk.Turn{
				ID: t.ID, Session: "D" + strconv.Itoa(s.number), Time: s.date, Speaker: t.Speaker, Text: text,
			})
		}
	}
	return h
}

// locomoAdversarial is the number of the category whose questions have no answer.
const locomoAdversarial = 5

// questions returns those of categories 1 to 4.
func (c *locomoConversation) questions(h History) []Question {
	return c.choose(h, func(category int) bool { return category != locomoAdversarial })
}

// unanswerable returns those of category 5.
func (c *locomoConversation) unanswerable(h History) []Question {
	return c.choose(h, func(category int) bool { return category == locomoAdversarial })
}

// choose returns the questions of some categories. Their ids count all questions of the file, so that they do not depend
// on what is left out.
func (c *locomoConversation) choose(h History, want func(category int) bool) []Question {
	known := map[string]bool{}
	for _, t := range h.Turns {
		known[t.ID] = true
	}
	var out []Question
	for i, q := range c.QA {
		if !want(q.Category) {
			continue
		}
		evidence, dropped := locomoEvidence(q.Evidence, known)
		question := Question{
			ID:               fmt.Sprintf("%s/q%04d", c.ID, i),
			History:          c.ID,
			Text:             q.Question,
			Gold:             q.Answer,
			Category:         score.LoCoMoCategories[q.Category-1],
			Evidence:         evidence,
			EvidenceDropped:  dropped,
			EvidenceSessions: sessionsOf(evidence, h),
		}
		if q.Category == locomoAdversarial {
			// The official score looks for a refusal even where the file gives an answer, which it does twice.
			question.Abstention, question.Gold = true, []string{"No information available"}
		}
		out = append(out, question)
	}
	return out
}

var turnID = regexp.MustCompile(`^D0*(\d+):0*(\d+)$`)

// locomoEvidence returns the turn ids that evidence names, each once, and how many it names that are not there. An entry
// may hold several ids, such as "D8:6; D9:17", and a number may have leading zeros.
func locomoEvidence(evidence []string, known map[string]bool) (ids []string, dropped int) {
	for _, entry := range evidence {
		for _, field := range strings.FieldsFunc(entry, func(r rune) bool { return r == ';' || r == ',' || r == ' ' }) {
			id := turnID.ReplaceAllString(field, "D$1:$2")
			switch {
			case !known[id]:
				dropped++
			case !slices.Contains(ids, id):
				ids = append(ids, id)
			}
		}
	}
	return ids, dropped
}

// sessionsOf returns the sessions of the turns with the given ids, each once, in the order of ids.
func sessionsOf(ids []string, h History) []string {
	session := make(map[string]string, len(h.Turns))
	for _, t := range h.Turns {
		session[t.ID] = t.Session
	}
	var out []string
	for _, id := range ids {
		if s := session[id]; s != "" && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}
