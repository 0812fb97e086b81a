package tiers

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/budgetmem/budgetmem/tiers/llm"
)

// Answerer gives the answer from the summary alone: the same strong model in every configuration.
type Answerer struct {
	// Client is the answering model.
	Client llm.Client
	// Style is the form of prompt and answer; the zero value is StyleShort. A tuned model has a prompt of its own instead.
	Style AnswerStyle
	// MaxTokens bounds the reply; 0 means 40, enough for a short phrase.
	MaxTokens int
	// Samples, if more than 1, is how many replies are sampled in one call, of which the one with the highest expected F1
	// against the others is the answer (minimum Bayes risk). Their tokens are paid for, the prompt once.
	Samples int
}

// AnswerStyle names a form of answer.
type AnswerStyle string

// The answer styles, each with a prompt template of its own.
const (
	// StyleShort asks for a short phrase, dates as 7 May 2023 (LoCoMo).
	StyleShort AnswerStyle = "locomo"
	// StyleDated tells the question's date too and lets the model abstain (LongMemEval).
	StyleDated AnswerStyle = "longmemeval"
	// StyleTagged asks for the answer inside <answer> tags (HotpotQA).
	StyleTagged AnswerStyle = "hotpotqa"
)

// StyleFor returns the style of a data set by its name, StyleShort for an unknown one.
func StyleFor(dataset string) AnswerStyle {
	switch {
	case strings.HasPrefix(dataset, string(StyleTagged)):
		return StyleTagged
	case strings.HasPrefix(dataset, string(StyleDated)):
		return StyleDated
	}
	return StyleShort
}

// Answer is what the answering model said.
type Answer struct {
	// Text is the cleaned answer and Raw the reply as it came.
	Text string `json:"text"`
	Raw  string `json:"raw"`
	// LogProbs are those of the reply's tokens; nil where they were not asked for or are not known.
	LogProbs []llm.TokenLogProb `json:"logprobs,omitempty"`
	// Usage is what the call consumed, on error too.
	Usage llm.Usage `json:"usage"`
}

func (a Answerer) request(summary, question, date string) (llm.Request, error) {
	var messages []llm.Message
	var err error
	if tuned, _ := llm.PromptTemplate(a.Client); tuned != "" {
		messages, err = TunedPrompt(tuned, summary, question, date)
	} else {
		messages, err = chat("answer_"+string(cmp.Or(a.Style, StyleShort)), promptData{
			Summary: escape(summary), Question: oneLine(question), Date: oneLine(date),
		})
	}
	if err != nil {
		return llm.Request{}, fmt.Errorf("answer step: %w", err)
	}
	limit := a.MaxTokens
	if limit <= 0 {
		limit = 40
	}
	req := llm.Request{Messages: messages, MaxTokens: limit}
	if a.Samples > 1 {
		req.N, req.Temperature, req.LogProbs = a.Samples, sampleTemperature, true
	}
	return req, nil
}

// WorstCase is the most that Answer can cost, in dollars, its call answered at the first attempt. The error is an
// llm.ErrUnpriced if the Client was not made by llm.Stack.
func (a Answerer) WorstCase(summary, question, date string) (dollars float64, err error) {
	req, err := a.request(summary, question, date)
	if err != nil {
		return 0, err
	}
	return plan{chat: []llm.Request{req}}.worstCase(a.Client)
}

// Answer asks the model. On error the Answer carries the usage.
func (a Answerer) Answer(ctx context.Context, summary, question, date string) (Answer, error) {
	req, err := a.request(summary, question, date)
	if err != nil {
		return Answer{}, err
	}
	reply, err := a.Client.Chat(ctx, req)
	if err != nil {
		return Answer{Usage: reply.Usage}, fmt.Errorf("answer step: asking %s: %w", a.Client.Model(), err)
	}
	choices := reply.Choices()
	texts := make([]string, len(choices))
	for i, c := range choices {
		texts[i] = cleanAnswer(c.Text)
	}
	best := minimumRisk(texts, choices)
	return Answer{Text: texts[best], Raw: choices[best].Text, LogProbs: choices[best].LogProbs, Usage: reply.Usage}, nil
}

var (
	answerPrefixRE = regexp.MustCompile(`(?i)^(?:(?:the |final |short )*answer(?: is)?\s*[:\-]|the answer is)\s*`)
	answerTagRE    = regexp.MustCompile(`(?i)</?answer>`)
)

// cleanAnswer reduces a reply to the answer: what stands in answer tags if there are any, else its first line, without
// an "Answer:" before it, quotes around it, and a full stop behind it.
func cleanAnswer(reply string) string {
	s := strings.TrimSpace(reply)
	if payload, _ := payloadOf(s); answerTagRE.MatchString(s) && payload != "" {
		s = payload
	}
	s = strings.TrimSpace(answerTagRE.ReplaceAllString(s, " "))
	for _, l := range strings.Split(s, "\n") {
		if l = strings.TrimSpace(answerPrefixRE.ReplaceAllString(strings.TrimSpace(l), "")); l != "" {
			s = l
			break
		}
	}
	for {
		t := strings.TrimSpace(strings.Trim(s, "\"'`*“”"))
		if strings.HasSuffix(t, ".") && !abbreviated(t) {
			t = strings.TrimSuffix(t, ".")
		}
		if t == s {
			return s
		}
		s = t
	}
}

// abbreviated reports whether a final full stop belongs to the last word ("U.S.", "Dr.", "a.m.").
func abbreviated(s string) bool {
	words := strings.Fields(s)
	if len(words) == 0 {
		return false
	}
	last := words[len(words)-1]
	return strings.Count(last, ".") > 1 || last == "Dr." || last == "Jr." || last == "Sr." || last == "Inc."
}
