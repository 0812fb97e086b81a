package tiers

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/budgetmem/budgetmem/tiers/llm"
)

// The answer is written from the summary's notes alone. In most sets one model writes all answers. A set with an answer section
// has several tiers for it:
//
//	rules  what the likeliest turn of the notes gives: a date, a name, a number or words, by the form that the question asks for; free
//	reply  one reply
//	mbr    several sampled replies, of which the one with the highest expected F1 against the others counts (minimum Bayes risk)
//
// the latter two by a model of their own and with one of two prompts: "examples", the style's own with its worked examples, or "short", the one
// that tuned models read, which is a few words. A tuned model has only the latter.

// Answerer gives the answer from the summary alone.
type Answerer struct {
	// Client is the answering model.
	Client llm.Client
	// Style is the form of prompt and answer; the zero value is StyleShort. A tuned model has a prompt of its own instead.
	Style AnswerStyle
	// Short asks with the prompt of tuned models, which has no examples, whatever the style.
	Short bool
	// MaxTokens bounds the reply; 0 means 40, enough for a short phrase.
	MaxTokens int
	// Samples, if more than 1, is how many replies are sampled in one call, of which the one with the highest expected F1
	// against the others is the answer (minimum Bayes risk). Their tokens are paid for, the prompt once.
	Samples int
	// LogProbs asks for the log-probabilities of the reply's tokens also where there is only one.
	LogProbs bool
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
	// Draws are the sampled replies; nil where one was asked for.
	Draws []Draw `json:"draws,omitempty"`
	// Form is what an answer by rules is; "" for a model's.
	Form Form `json:"form,omitempty"`
	// Backed says how far the notes back a model's answer; nil where they were not looked at.
	Backed *Backing `json:"backed,omitempty"`
	// Usage is what the call consumed, on error too.
	Usage llm.Usage `json:"usage"`
	// Model is the one that answered in place of the one that was asked; "" where the latter did.
	Model string `json:"model,omitempty"`
}

// Draw is one of several sampled replies.
type Draw struct {
	// Text is the cleaned answer.
	Text string `json:"text"`
	// LogProb is the sum over the reply's tokens of the natural logarithm of their probabilities; nil if it is not known.
	LogProb *float64 `json:"logprob,omitempty"`
}

func (a Answerer) request(summary, question, date string) (llm.Request, error) {
	var messages []llm.Message
	var err error
	tuned, _ := llm.PromptTemplate(a.Client)
	if tuned == "" && a.Short {
		tuned = NotesTemplate
	}
	if tuned != "" {
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
	req := llm.Request{Messages: messages, MaxTokens: limit, LogProbs: a.LogProbs}
	if a.Samples > 1 {
		req.N, req.Temperature, req.LogProbs = a.Samples, sampleTemperature, true
	}
	return req, nil
}

// Tier makes a tier of the module Answering. Of its input it reads Notes, Query, QueryDate and Style.
func (a Answerer) Tier(name string) Tier {
	return &timed{module: Answering, name: name, client: a.Client, run: a.run, plan: a.plan}
}

func (a Answerer) run(ctx context.Context, in Input, step *Step) (Output, error) {
	a.Style = in.Style
	step.Method = "one reply"
	if a.Samples > 1 {
		step.Method = fmt.Sprintf("minimum Bayes risk of %d replies", a.Samples)
	}
	answer, err := a.Answer(ctx, in.Notes, in.Query, in.QueryDate)
	step.Usage = answer.Usage
	step.answeredBy(answer.Model, a.Client)
	if err == nil {
		answer.Backed = backing(answer.Text, in)
	}
	return Output{Text: answer.Text, Answer: answer}, err
}

func (a Answerer) plan(_ context.Context, in Input) (plan, error) {
	a.Style = in.Style
	return planned(a.request(in.Notes, in.Query, in.QueryDate))
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
	answer := Answer{Text: texts[best], Raw: choices[best].Text, LogProbs: choices[best].LogProbs, Usage: reply.Usage, Model: reply.Model}
	if a.Samples > 1 {
		answer.Draws = draws(texts, choices)
	}
	return answer, nil
}

func draws(texts []string, choices []llm.Choice) []Draw {
	out := make([]Draw, len(texts))
	for i, c := range choices {
		out[i].Text = texts[i]
		if c.LogProbs != nil {
			sum := logProb(c.LogProbs)
			out[i].LogProb = &sum
		}
	}
	return out
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
