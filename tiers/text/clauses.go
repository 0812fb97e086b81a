package text

import "strings"

// Clause is one assertion: who, what they did or are, and the rest.
type Clause struct {
	Subject  string
	Relation string // the verb group, negation included, with its preposition
	Object   string
}

// Setting says who speaks to whom, so that pronouns can be resolved. In a document Speaker is "" and Title names what it
// is about.
type Setting struct {
	Speaker, Listener, Title string
}

const (
	maxSubject = 8  // tokens
	maxObject  = 16 // tokens
)

// Clauses extracts the assertions of one turn: every finite verb group with the noun phrase before it as its subject and
// what follows up to the clause's end as its object. First and second persons become the speaker's and the listener's
// names (possessives too), a dropped subject ("Took a trip to Rome") is the speaker, a coordinated verb takes over the
// subject before it, negation stays in the relation. Questions, commands, and clauses about an unresolved "it" or "they"
// assert nothing and are left out.
func (t *Tagger) Clauses(text string, in Setting) []Clause {
	keep := opening(text)
	keep[in.Speaker], keep[in.Listener] = true, true
	var out []Clause
	for _, s := range Sentences(text) {
		if strings.HasSuffix(strings.TrimRight(s, `"')”`), "?") {
			continue
		}
		out = append(out, clauses(t.tag(s, keep), in)...)
	}
	return out
}

func clauses(tokens []token, in Setting) []Clause {
	tokens = dropAddress(tokens, in)
	var out []Clause
	start := 0     // where the present clause begins
	previous := "" // its subject, for coordinated verbs
	for i := 0; i < len(tokens); {
		if !opensVerbGroup(tokens, i) {
			if boundary(tokens, i) {
				start = i + 1
			}
			i++
			continue
		}
		groupEnd := verbGroupEnd(tokens, i)
		end := objectEnd(tokens, groupEnd)
		subject, ok := subjectOf(tokens[start:i], in, previous)
		if !ok && i == 0 && droppedSubject(tokens) {
			subject, ok = in.Speaker, in.Speaker != ""
		}
		if ok {
			previous = subject
			if c, ok := clause(subject, tokens[i:groupEnd], tokens[groupEnd:end], in); ok {
				out = append(out, c)
			}
		}
		i, start = end, end
	}
	return out
}

// dropAddress removes greetings and the names that a sentence is addressed to.
func dropAddress(tokens []token, in Setting) []token {
	for len(tokens) > 0 {
		t := tokens[0]
		named := t.Text == in.Listener || strings.HasPrefix(in.Listener, t.Text) && len(t.Text) > 2
		mark := !hasWordChar(t.Text)
		if t.Tag != "UH" && !mark && !(named && len(tokens) > 1 && !hasWordChar(tokens[1].Text)) {
			break
		}
		tokens = tokens[1:]
	}
	return tokens
}

func opensVerbGroup(tokens []token, i int) bool {
	switch t := tokens[i]; t.Tag {
	case "VBD", "VBZ", "VBP", "MD":
		return true
	case "VBN": // a past tense taken for a participle: "and shared stories"
		return i == 0 || tokens[i-1].Tag == "CC"
	case "VB", "VBG": // finite only where a sentence drops its subject
		return i == 0
	default:
		return false
	}
}

// droppedSubject reports whether a sentence that opens with a verb speaks of the speaker. A base form is a command, and
// an -ing form with a finite verb after it is itself the subject ("Painting is fun").
func droppedSubject(tokens []token) bool {
	switch tokens[0].Tag {
	case "VBD", "VBN":
		return true
	case "VBG":
		for _, t := range tokens[1:] {
			if t.Tag == "VBZ" || t.Tag == "VBP" || t.Tag == "VBD" || t.Tag == "MD" {
				return false
			}
		}
		return true
	}
	return false
}

func verbGroupEnd(tokens []token, i int) int {
	end := i + 1
	for j := end; j < len(tokens); j++ {
		switch t := tokens[j]; {
		case t.Tag == "RB" || t.Tag == "RBR":
			continue // belongs to the group only if a verb follows, or if it negates
		case t.verb() || t.Tag == "RP":
			end = j + 1
		case t.Tag == "TO" && j+1 < len(tokens) && tokens[j+1].Tag == "VB":
			end = j + 2
			j++
		default:
			return negationEnd(tokens, end, j)
		}
	}
	return negationEnd(tokens, end, len(tokens))
}

// negationEnd keeps a trailing "not" or "never" in the group.
func negationEnd(tokens []token, end, limit int) int {
	if end < limit && (strings.EqualFold(tokens[end].Text, "not") || strings.EqualFold(tokens[end].Text, "never")) {
		return end + 1
	}
	return end
}

// boundary reports whether a clause ends before token i.
func boundary(tokens []token, i int) bool {
	t := tokens[i]
	if t.Tag == "CC" && i+1 < len(tokens) {
		next := tokens[i+1]
		return next.verb() && next.Tag != "VBG" && next.Tag != "VB" || next.Tag == "RB" || startsClause(tokens[i+1:])
	}
	if !hasWordChar(t.Text) {
		return t.Text != "'" && t.Text != "\"" && t.Text != "&" && !(t.Text == "," && listComma(tokens, i))
	}
	return subordinators[strings.ToLower(t.Text)] && startsClause(tokens[i+1:])
}

// listComma reports whether the comma parts the members of a list and not two clauses.
func listComma(tokens []token, i int) bool {
	return i > 0 && tokens[i-1].noun() && i+1 < len(tokens) &&
		(tokens[i+1].noun() || tokens[i+1].Tag == "CC" || tokens[i+1].Tag == "JJ" || tokens[i+1].Tag == "VBG") && !startsClause(tokens[i+1:])
}

// startsClause reports whether a noun phrase and a finite verb follow at once.
func startsClause(tokens []token) bool {
	for j := 0; j < len(tokens) && j < maxSubject; j++ {
		switch t := tokens[j]; {
		case t.Tag == "VBD" || t.Tag == "VBZ" || t.Tag == "VBP" || t.Tag == "MD":
			return j > 0
		case !nounPhrasePart(t) && t.Tag != "RB":
			return false
		}
	}
	return false
}

func objectEnd(tokens []token, i int) int {
	for j := i; j < len(tokens); j++ {
		if boundary(tokens, j) || j-i >= maxObject {
			return j
		}
	}
	return len(tokens)
}

func nounPhrasePart(t token) bool {
	switch t.Tag {
	case "DT", "PDT", "PRP", "PRP$", "JJ", "JJR", "JJS", "CD", "POS", "VBG", "VBN":
		return true
	}
	return t.noun()
}

// subjectOf reads the noun phrase that ends a clause's opening.
func subjectOf(before []token, in Setting, previous string) (string, bool) {
	end := len(before)
	for end > 0 && (before[end-1].Tag == "RB" || before[end-1].Tag == "CC" && end == 1) {
		end--
	}
	begin := end
	for begin > 0 && end-begin < maxSubject && (nounPhrasePart(before[begin-1]) || joins(before, begin-1)) {
		begin--
	}
	phrase := before[begin:end]
	switch {
	case len(phrase) == 0 && len(before) > 0 && before[0].Tag == "CC" || len(before) == 0 && previous != "":
		return previous, previous != ""
	case len(phrase) == 0:
		return "", false
	case begin > 0 && strings.HasPrefix(before[begin-1].Tag, "W"):
		return "", false
	}
	if last := phrase[len(phrase)-1]; last.Tag == "PRP" && !joins(before, end-2) { // "last month I": what stands before is no subject
		phrase = phrase[len(phrase)-1:]
	}
	if strings.EqualFold(phrase[0].Text, "let") {
		return "", false
	}
	if len(phrase) == 1 && (phrase[0].Tag == "PRP" || phrase[0].Tag == "DT") {
		s := strings.ToLower(phrase[0].Text)
		if in.Title != "" && (s == "it" || s == "he" || s == "she" || s == "they") {
			return in.Title, true
		}
		if !firstOrSecond[s] {
			return "", false
		}
	}
	s := strings.Join(resolve(phrase, in, true), " ")
	return s, s != ""
}

// joins reports whether token i links two parts of one noun phrase ("friends and mentors", "part of it").
func joins(tokens []token, i int) bool {
	if i <= 0 {
		return false
	}
	low := strings.ToLower(tokens[i].Text)
	return (low == "and" || low == "of" || low == "&") && (tokens[i-1].noun() || tokens[i-1].Tag == "PRP")
}

func clause(subject string, group, rest []token, in Setting) (Clause, bool) {
	relation := make([]string, 0, len(group)+1)
	for _, t := range group {
		relation = append(relation, thirdPerson(t.Text, subject, in))
	}
	if len(rest) > 0 && (rest[0].Tag == "IN" && !strings.EqualFold(rest[0].Text, "that") || rest[0].Tag == "TO" || rest[0].Tag == "RP") {
		relation = append(relation, rest[0].Text)
		rest = rest[1:]
	}
	content := false
	for _, t := range rest {
		content = content || t.noun() || t.Tag == "VBG" || t.Tag == "VB" || t.Tag == "CD" || strings.HasPrefix(t.Tag, "JJ") && subject == in.Speaker
	}
	object := strings.Join(resolve(rest, in, false), " ")
	return Clause{subject, strings.Join(relation, " "), object}, content && object != ""
}

var fullForms = map[string]string{"'m": "am", "'re": "are", "'ve": "have", "'ll": "will", "'d": "would", "'s": "is"}

// thirdPerson writes an auxiliary out, and in the third person when it belonged to "I" or "you".
func thirdPerson(verb, subject string, in Setting) string {
	verb = strings.ToLower(verb)
	if full, ok := fullForms[verb]; ok {
		verb = full
	}
	if subject != in.Speaker && subject != in.Listener {
		return verb
	}
	switch verb {
	case "am", "are":
		return "is"
	case "have":
		return "has"
	case "do":
		return "does"
	case "were":
		return "was"
	}
	return verb
}

var (
	firstOrSecond = set("i we you everyone everybody someone something nothing everything")
	subordinators = set("because when while if although though since after before until unless so whereas but")
)

// resolve writes tokens with pronouns turned into names.
func resolve(tokens []token, in Setting, subject bool) []string {
	var out []string
	for _, t := range tokens {
		word := t.Text
		if r, ok := in.name(strings.ToLower(word), subject); ok {
			word = r
		}
		if n := len(out); n > 0 && (t.Tag == "POS" || word == "'s" && t.Tag == "POS") {
			out[n-1] += word
			continue
		}
		if hasWordChar(word) || word == "&" || word == "," {
			out = append(out, word)
		}
	}
	for len(out) > 0 && !hasWordChar(out[len(out)-1]) {
		out = out[:len(out)-1]
	}
	for i := len(out) - 1; i > 0; i-- { // no blank before a comma
		if out[i] == "," {
			out[i-1] += ","
			out = append(out[:i], out[i+1:]...)
		}
	}
	return out
}

func (in Setting) name(pronoun string, subject bool) (string, bool) {
	if in.Speaker != "" {
		switch pronoun {
		case "i", "me", "myself":
			return in.Speaker, true
		case "my", "mine", "our", "ours":
			return in.Speaker + "'s", true
		case "we", "us", "ourselves":
			if subject {
				return in.Speaker + " and others", true
			}
			return "them", true
		}
	}
	if in.Listener != "" {
		switch pronoun {
		case "you", "yourself":
			return in.Listener, true
		case "your", "yours":
			return in.Listener + "'s", true
		}
	}
	return "", false
}
