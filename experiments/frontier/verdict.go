package frontier

import (
	"fmt"
	"strings"
)

// Verdict compares a trained family with the best static assignments: the difference of their mean returns over λ, and what
// each scores and costs on average over λ.
type Verdict struct {
	Policy    string `json:"policy"`
	Questions int    `json:"questions"` // number of questions compared
	// Found is Better or Worse if the 95 % interval of Return over questions and seeds lies on one side of 0, else NoDifference.
	Found string `json:"found"`
	// Return is the policy's mean return minus that of the static assignments.
	Return Difference `json:"return_versus_static"`
	// Mean and Static have the mean score and dollars of a question.
	Mean   CostScore `json:"mean"`
	Static CostScore `json:"static"`
}

// The outcomes of a verdict.
const (
	Better       = "better"
	Worse        = "worse"
	NoDifference = "no difference"
)

// verdicts judges every trained family.
func (r *Result) verdicts() []Verdict {
	var out []Verdict
	static := CostScore{}
	for _, e := range r.Entries {
		if e.Name == staticName {
			static = e.mean()
		}
	}
	for _, e := range r.Entries {
		d := e.ReturnVersus
		if !e.Trained || d == nil {
			continue
		}
		v := Verdict{Policy: e.Name, Questions: r.Questions, Found: NoDifference, Return: *d, Mean: e.mean(), Static: static}
		switch {
		case d.Seeds[0] > 0:
			v.Found = Better
		case d.Seeds[1] < 0:
			v.Found = Worse
		}
		out = append(out, v)
	}
	return out
}

// mean is the average score and cost of an entry's points.
func (e *Entry) mean() CostScore {
	var sum CostScore
	for _, p := range e.Points {
		sum.Score += p.Score.Mean / float64(len(e.Points))
		sum.Dollars += p.Dollars / float64(len(e.Points))
	}
	return sum
}

// String is the verdict in one sentence.
func (v Verdict) String() string {
	found := map[string]string{Better: "better than", Worse: "worse than", NoDifference: "not distinguishable from"}[v.Found]
	return fmt.Sprintf("%s is %s the best static assignments on these %d questions: mean return %+.4f, 95 %% interval %s over questions and seeds; score %.3f for %.1f µ$ a question against %.3f for %.1f µ$.",
		v.Policy, found, v.Questions, v.Return.Mean, bracket(v.Return.Seeds, "%+.4f"), v.Mean.Score, 1e6*v.Mean.Dollars, v.Static.Score, 1e6*v.Static.Dollars)
}

// Verdict says in one sentence for each trained family whether it earns more than the best static assignments. It is "" if
// nothing was trained.
func (r *Result) Verdict() string {
	var text []string
	for _, v := range r.Verdicts {
		text = append(text, v.String())
	}
	return strings.Join(text, " ")
}
