package run

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/budgetmem/budgetmem/datasets/judge"
)

// Verdict is a judge's rating of an answer.
type Verdict struct {
	// Score is in [0,1]; nil if there was no reply or it could not be parsed.
	Score *float64 `json:"score"`
	// Explanation is the judge's reason, or the reply that could not be parsed.
	Explanation string `json:"explanation,omitempty"`
	In          int    `json:"tokens_in"`  // tokens of the prompt
	Out         int    `json:"tokens_out"` // and of the reply
	// Dollars is the verdict's cost at list price. It is not part of the question's cost.
	Dollars float64 `json:"dollars"`
	// Error is why there was no reply. The judge is asked again when the run is resumed.
	Error string `json:"error,omitempty"`
}

// JudgeInfo describes what a judge's verdicts depend on.
type JudgeInfo struct {
	Model   string `json:"model"`
	ModelID string `json:"model_id"`
	// Prompts is the hash of the judge's prompts.
	Prompts string `json:"prompts"`
}

// JudgeScore is the name of a judge's score among a prediction's.
func JudgeScore(judge string) string { return "judge-" + judge }

func judgeInfo(j *judge.Judge) JudgeInfo {
	return JudgeInfo{Model: j.Client().Model(), ModelID: j.Client().ID(), Prompts: j.Hash()}
}

// unjudged reports whether a judge still has to rate a record's answer.
func (r *run) unjudged(rec Record) bool {
	if rec.Failed() {
		return false
	}
	for _, j := range r.Judges {
		if v, ok := rec.Judged[j.Name()]; !ok || v.Error != "" {
			return true
		}
	}
	return false
}

// judge lets every judge that has not done so rate the answer, and returns the dollars paid. A judge that cannot be reached
// is recorded as a failed verdict; only an error that stops the run is returned.
func (r *run) judge(ctx context.Context, rec *Record) (paid float64, err error) {
	// The maps may be those of a record that others read.
	rec.Judged, rec.Judging = cloned(rec.Judged), cloned(rec.Judging)
	for _, j := range r.Judges {
		if v, ok := rec.Judged[j.Name()]; ok && v.Error == "" {
			continue
		}
		v, err := j.Judge(ctx, judge.Answer{Question: rec.Question, Category: rec.Category, Abstention: rec.Abstention, Gold: rec.Gold, Prediction: rec.Prediction.Prediction})
		paid += v.Usage.Paid
		if err != nil && stops(ctx.Err(), err) {
			return paid, errors.Join(fmt.Errorf("question %s: %w", rec.ID, err), rec.score(r.metric))
		}
		verdict := Verdict{Explanation: v.Explanation, In: v.Usage.In, Out: v.Usage.Out, Dollars: v.Usage.Dollars}
		switch {
		case err != nil:
			verdict.Error = err.Error()
		case v.Readable:
			verdict.Score = &v.Score
		default:
			verdict.Explanation = v.Reply
		}
		rec.Judged[j.Name()], rec.Judging[j.Name()] = verdict, v.Usage
	}
	return paid, rec.score(r.metric)
}

func cloned[V any](m map[string]V) map[string]V {
	if m == nil {
		return map[string]V{}
	}
	return maps.Clone(m)
}
