package text

import (
	"regexp"
	"strings"
)

// Form says what form of answer a question asks for.
type Form struct{ List, Date, YesNo bool }

var (
	dateQuestionRE = regexp.MustCompile(`(?i)\b(?:when|(?:what|which) (?:date|day|month|year|time)|how long ago)\b`)
	// A plural behind "which" or "what", before the verb: "What sports does Omar do?"
	listQuestionRE = regexp.MustCompile(`(?i)^(?:(?:in|at|on|for|with|to|from|of) )?(?:what|which)(?: (?:are|were)\b| (?:[\p{L}-]+ ){0,3}?(?:[\p{L}-]*[^\WsuiSUI]s|activities|people|children) (?:and|does|do|did|has|have|had|is|are|was|were|will|would|can|could)\b)|^(?:list|name|who all)\b|\b(?:what kinds|which ones|what else|all the)\b`)
	yesNoRE        = regexp.MustCompile(`(?i)^(?:is|are|was|were|am|do|does|did|has|have|had|can|could|will|would|should|shall|might|may|must)(?:n't)?\b`)
)

// QuestionForm tells by its words which form of answer an English question asks for. A question may ask for none of these.
func QuestionForm(question string) Form {
	q := strings.TrimSpace(question)
	return Form{List: listQuestionRE.MatchString(q), Date: dateQuestionRE.MatchString(q), YesNo: yesNoRE.MatchString(q)}
}
