package score

import "context"

// Judgement is a judge's verdict on one answer.
type Judgement struct {
	// Score is in [0,1]: the paper's judge gives 0, 0.5 or 1, LongMemEval's 0 or 1.
	Score float64
	// Parsed is false when the judge's reply could not be read. The score is then 0 and means nothing: such items are
	// counted apart and never trained on.
	Parsed bool
	// Explanation is the judge's reason, "" if it gave none.
	Explanation string
}

// Judged is an answer to be judged.
type Judged struct {
	// ID is the question's; LongMemEval marks questions without an answer by the ending "_abs".
	ID string
	// Question, Category and Date are the question's own; Date is "" unless the data set gives one.
	Question, Category, Date string
	// Gold holds the accepted answers.
	Gold []string
	// Prediction is the answer to judge.
	Prediction string
}

// Judge decides, by a language model or by a person, whether an answer is right. Its cost is reported apart from the cost
// of answering. Implementations are safe for concurrent use.
type Judge interface {
	// Judge returns an error only if no verdict could be had at all; an unreadable reply is a Judgement with Parsed false.
	Judge(ctx context.Context, answer Judged) (Judgement, error)
}
