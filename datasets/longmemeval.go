package datasets

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/datasets/score"
)

// longMemEvalSpec is LongMemEval-S (cleaned): every question has a history of its own, about 48 sessions of a user with an
// assistant. The test split is shipped, the others are read from the data folder. One of the paper's 297 training
// questions (gpt4_7a0daae1) is left out, because its history is missing from the file the splits were made on.
var longMemEvalSpec = spec{
	name:        "longmemeval",
	summary:     "LongMemEval-S: chats of about 48 sessions, one history a question; six kinds of questions, some without an answer",
	licence:     "MIT",
	chunkTokens: 256,
	metric:      "locomo-f1",
	index:       "longmemeval/longmemeval_splits.json",
	sources: func(split Split) []source {
		switch split {
		case test:
			return []source{shippedSource("longmemeval/longmemeval_s_test.jsonl.xz")}
		case Train:
			return []source{longMemEvalFull("longmemeval_s_train.jsonl.xz")}
		default:
			return []source{longMemEvalFull("longmemeval_s_val.jsonl.xz")}
		}
	},
	read: readLongMemEval,
}

// oracleSpec is LongMemEval with only the sessions that hold the evidence: the same questions and splits, all shipped.
var oracleSpec = spec{
	name:        "longmemeval-oracle",
	summary:     "LongMemEval with the evidence sessions only: how well can be answered when retrieval is perfect",
	licence:     "MIT",
	chunkTokens: 256,
	metric:      "locomo-f1",
	index:       "longmemeval/longmemeval_splits.json",
	sources:     func(Split) []source { return []source{shippedSource("longmemeval/longmemeval_oracle.json.gz")} },
	read:        readLongMemEval,
}

// longMemEvalFull is a file with a split, or the publisher's one file with all questions, of which the split is taken.
func longMemEvalFull(split string) source {
	const public = "longmemeval_s_cleaned.json"
	return source{
		names:  []string{split, public, public + ".gz", public + ".xz"},
		public: public,
		url:    "https://huggingface.co/datasets/xiaowu0162/longmemeval-cleaned",
	}
}

func readLongMemEval(ctx context.Context, opts Options, files []source, want func(string) bool, add addFunc) error {
	return load(ctx, files[0], opts, func(r *longMemEvalRecord) error {
		if want(r.ID) {
			add(r.convert())
		}
		return nil
	})
}

var longMemEvalTypes = []string{
	"single-session-user", "single-session-assistant", "single-session-preference",
	"multi-session", "temporal-reasoning", "knowledge-update",
}

type longMemEvalRecord struct {
	ID             string     `json:"question_id"`
	Type           string     `json:"question_type"`
	Question       string     `json:"question"`
	Date           string     `json:"question_date"`
	Answer         score.Gold `json:"answer"`
	AnswerSessions []string   `json:"answer_session_ids"`
	Dates          []string   `json:"haystack_dates"`
	SessionIDs     []string   `json:"haystack_session_ids"`
	Sessions       [][]struct {
		Role      string `json:"role"`
		Content   string `json:"content"`
		HasAnswer bool   `json:"has_answer"`
	} `json:"haystack_sessions"`
}

func (r *longMemEvalRecord) check() error {
	switch {
	case r.ID == "":
		return missing("question_id")
	case !slices.Contains(longMemEvalTypes, r.Type):
		return fmt.Errorf("field %q is %q, want one of %q", "question_type", r.Type, longMemEvalTypes)
	case r.Question == "":
		return missing("question")
	case len(r.Answer) == 0:
		return missing("answer")
	case len(r.Sessions) == 0:
		return missing("haystack_sessions")
	case len(r.SessionIDs) != len(r.Sessions):
		return fmt.Errorf("field %q has %d entries for %d sessions", "haystack_session_ids", len(r.SessionIDs), len(r.Sessions))
	case len(r.Dates) != len(r.Sessions):
		return fmt.Errorf("field %q has %d entries for %d sessions", "haystack_dates", len(r.Dates), len(r.Sessions))
	}
	for i, s := range r.Sessions {
		if r.SessionIDs[i] == "" {
			return missing(fmt.Sprintf("haystack_session_ids[%d]", i))
		}
		for j, t := range s {
			if t.Role == "" {
				return missing(fmt.Sprintf("haystack_sessions[%d][%d].role", i, j))
			}
		}
	}
	return nil
}

// convert makes a question and its history. Turn ids are SESSION:INDEX, counted from 0. A session that occurs again in
// the same history gets the ending "~2", "~3", so that ids stay unique. Turns without text are left out.
func (r *longMemEvalRecord) convert() (Question, History) {
	q := Question{ID: r.ID, History: r.ID, Text: r.Question, Date: r.Date, Gold: r.Answer, Category: r.Type,
		Abstention: strings.HasSuffix(r.ID, "_abs")}
	h := History{ID: r.ID}
	used := map[string]int{}
	for i, turns := range r.Sessions {
		session := r.SessionIDs[i]
		if used[session]++; used[session] > 1 {
			session += "~" + strconv.Itoa(used[session])
		}
		if slices.Contains(r.AnswerSessions, r.SessionIDs[i]) {
			q.EvidenceSessions = append(q.EvidenceSessions, session)
		}
		for j, t := range turns {
			if t.Content == "" {
				continue
			}
			id := session + ":" + strconv.Itoa(j)
			h.Turns = append(h.Turns, chunk.Turn{ID: id, Session: session, Time: r.Dates[i], Speaker: t.Role, Text: t.Content})
			if t.HasAnswer {
				q.Evidence = append(q.Evidence, id)
			}
		}
	}
	return q, h
}
