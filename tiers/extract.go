package tiers

import (
	"context"
	"regexp"
	"slices"
	"strings"

	"github.com/budgetmem/budgetmem/tiers/text"
)

// extractMethod is the method of Answering that asks no model.
const extractMethod = "rules"

// answerExtracted takes the answer out of the turn that the notes end with, which is the likeliest one.
func (tb *toolbox) answerExtracted(_ context.Context, in Input, step *Step) (Output, error) {
	step.Method = extractMethod
	answer, form := extractAnswer(in)
	return Output{Text: answer, Answer: Answer{Text: answer, Raw: answer, Form: form}}, nil
}

// Form is what an answer by rules is, which tells how far it can be trusted.
type Form string

// The forms, in the order in which they are tried: a date that the turn tells, also by a relative expression such as "last week"; the
// day on which the turn was said; one of two things that the question names; yes; a number; names; and words.
const (
	ToldDate     Form = "told_date"
	RelativeDate Form = "relative_date"
	SaidDate     Form = "said_date"
	Option       Form = "option"
	Yes          Form = "yes"
	Number       Form = "number"
	Names        Form = "names"
	Words        Form = "words"
)

// Forms lists all forms.
func Forms() []Form {
	return []Form{ToldDate, RelativeDate, SaidDate, Option, Yes, Number, Names, Words}
}

var (
	headedRE = regexp.MustCompile(`^\[([^\[\]]*)\] (.*)$`)
	saidRE   = regexp.MustCompile(`^(?:[^"]{1,80} said, )?"(.*)"$`)
	// resolvedRE finds what quote puts behind a relative date expression.
	resolvedRE = regexp.MustCompile(`\(([^()]*\b\d{4})\)`)
	picturedRE = regexp.MustCompile(`\[shared picture: [^\[\]]*\]`)
	clauseRE   = regexp.MustCompile(`[.!?;,…]+(?:\s|$)| - `)
	yearRE     = regexp.MustCompile(`\b(?:1[5-9]|20)\d\d\b`)
	// optionsRE finds the two things that a question gives to choose from.
	optionsRE = regexp.MustCompile(`([^,?:]+?),? or ([^,?]+)\?\s*$`)
	namedRE   = regexp.MustCompile(`(?:[\p{Lu}\d][^\s]*(?:\s+(?:of|the|and|in|de|for|to|a|at)(?:\s+|$))*\s*)+$`)
	// dateFirstRE finds questions for a date; "when" inside a question asks for none.
	dateFirstRE = regexp.MustCompile(`(?i)^(?:(?:in|on|at|since|until|by|during|from) )?(?:when|(?:what|which) (?:date|day|month|year|time)|how long ago)\b`)
	nameFirstRE = regexp.MustCompile(`(?i)^(?:(?:in|at|from|to|for|with|by) )?(?:who|whom|whose|where|which)\b|\bnames?\b|\b(?:country|city|state|book|books|movie|game|song|band|company|restaurant)\b`)
	countRE     = regexp.MustCompile(`(?i)^how (?:many|much|old|long|often)\b`)
	numberRE    = regexp.MustCompile(`(?i)\b(?:\d[\d,.]*\d|\d|one|two|three|four|five|six|seven|eight|nine|ten|twelve|once|twice)\b(?: (?:years?|months?|weeks?|days?|hours?|minutes?|times?|dollars))?`)
)

// extractAnswer answers by the form that the question asks for: a date, one of two things, a number, yes or no; else the words of
// the clause nearest to the question that the question does not have itself. Both are "" if there are no notes.
func extractAnswer(in Input) (string, Form) {
	lines := noteLines(in.Notes)
	if len(lines) == 0 {
		return "", ""
	}
	best := lines[len(lines)-1]
	if dateFirstRE.MatchString(in.Query) {
		if date, form := best.date(); date != "" {
			return shorterDate(in.Query, date), form
		}
	}
	if a, b, ok := options(in.Query); ok {
		for i := len(lines) - 1; i >= 0; i-- { // the one that the likelier turns name
			inA, inB := lines[i].names(a), lines[i].names(b)
			if inA != inB {
				if inA {
					return a, Option
				}
				return b, Option
			}
		}
		return a, Option
	}
	if text.QuestionForm(in.Query).YesNo {
		return "Yes", Yes
	}
	if countRE.MatchString(in.Query) {
		if n := numberRE.FindString(resolvedRE.ReplaceAllString(best.said, "")); n != "" {
			return n, Number
		}
	}
	if nameFirstRE.MatchString(in.Query) {
		if names := in.newNames(best.said); len(names) > 0 {
			return strings.Join(names, ", "), Names
		}
	}
	return in.newWords(best.said), Words
}

// noteLine is a quoted turn of the notes.
type noteLine struct{ head, said string }

// noteLines are the turns that notes quote, in their order.
func noteLines(notes string) []noteLine {
	var out []noteLine
	for l := range strings.Lines(notes) {
		l = strings.TrimSpace(l)
		if l == "" {
			continue
		}
		var n noteLine
		if m := headedRE.FindStringSubmatch(l); m != nil {
			n.head, l = m[1], m[2]
		}
		if m := saidRE.FindStringSubmatch(l); m != nil {
			l = m[1]
		}
		n.said = strings.TrimSpace(picturedRE.ReplaceAllString(l, ""))
		out = append(out, n)
	}
	return out
}

// date is the date of what a turn tells: what a relative date in it means, a date in it, or the day on which it was said.
func (n noteLine) date() (string, Form) {
	if m := resolvedRE.FindStringSubmatch(n.said); m != nil {
		return m[1], dateForm(m[1])
	}
	said, known := text.ParseTime(n.head)
	if !known {
		if y := yearRE.FindString(n.said); y != "" {
			return y, ToldDate
		}
		return "", ""
	}
	for _, e := range text.FindDates(n.said) {
		if when := e.Resolve(said); when != "" && !e.Vague() {
			return when, dateForm(when)
		}
	}
	return n.head, SaidDate
}

// dateForm tells a day, month or year from what is only near one, such as "the week before 3 July 2023".
func dateForm(date string) Form {
	if _, ok := text.ParseTime(date); ok || yearRE.FindString(date) == date {
		return ToldDate
	}
	return RelativeDate
}

func (n noteLine) names(what string) bool {
	return strings.Contains(strings.ToLower(n.head+" "+n.said), strings.ToLower(what))
}

// shorterDate leaves the year, or month and year, where a question asks for no more.
func shorterDate(question, date string) string {
	q := strings.ToLower(question)
	switch {
	case strings.Contains(q, "what year") || strings.Contains(q, "which year"):
		if y := yearRE.FindString(date); y != "" {
			return y
		}
	case strings.Contains(q, "what month") || strings.Contains(q, "which month"):
		if t, ok := text.ParseTime(date); ok {
			return t.Format("January 2006")
		}
	}
	return date
}

// options are the two things of a question such as "Which came first, A or B?".
func options(question string) (a, b string, ok bool) {
	m := optionsRE.FindStringSubmatch(question)
	if m == nil {
		return "", "", false
	}
	a = strings.TrimSpace(m[1])
	if name := strings.TrimSpace(namedRE.FindString(a)); name != "" {
		a = name
	}
	return a, strings.TrimSpace(m[2]), true
}

// newNames are the names in a turn of which the question has no word.
func (in Input) newNames(said string) []string {
	asked := in.Language.Stems(in.Query)
	return slices.DeleteFunc(text.Names(said), func(name string) bool {
		return overlaps(in.Language.Stems(name), asked)
	})
}

// newWords are the content words that the question does not have, of the clause of a turn that shares most words with it.
func (in Input) newWords(said string) string {
	asked := in.Language.Stems(in.Query)
	best, most := "", -1
	for _, clause := range clauseRE.Split(resolvedRE.ReplaceAllString(said, ""), -1) {
		shared := 0
		var left []string
		for _, w := range strings.Fields(clause) {
			stems := in.Language.Stems(w)
			switch {
			case len(stems) == 0:
			case overlaps(stems, asked):
				shared++
			default:
				left = append(left, strings.Trim(w, `"'.,;:!?()`))
			}
		}
		if len(left) > 0 && shared > most {
			best, most = strings.Join(left, " "), shared
		}
	}
	return best
}

// Backing is what can be told of a model's answer from the notes that it was written from, without a model. All are in [0, 1].
type Backing struct {
	// Rules is the token F1 with the answer that rules give to the same notes. Two ways of answering that agree are seldom both wrong.
	Rules float64 `json:"rules"`
	// Notes is the share of the answer's words that the notes hold.
	Notes float64 `json:"notes"`
}

// backing compares an answer with the notes that in has. An answer without words is backed by nothing.
func backing(answer string, in Input) *Backing {
	b := &Backing{}
	words := text.Words(answer)
	if len(words) == 0 {
		return b
	}
	byRules, _ := extractAnswer(in)
	b.Rules = wordF1(words, text.Words(byRules))
	held := map[string]bool{}
	for _, w := range text.Words(in.Notes) {
		held[w] = true
	}
	found := 0
	for _, w := range words {
		if held[w] {
			found++
		}
	}
	b.Notes = float64(found) / float64(len(words))
	return b
}

func overlaps(a, b map[string]bool) bool {
	for w := range a {
		if b[w] {
			return true
		}
	}
	return false
}
