package experiments

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/budgetmem/budgetmem/datasets/judge"
	"github.com/budgetmem/budgetmem/tiers/llm"
)

// Verdict is what a judge made of an answer.
type Verdict struct {
	// Score is in [0,1]; nil if there is none: the reply could not be read, or there was no reply.
	Score *float64 `json:"score"`
	// Explanation is the judge's reason, or the reply that could not be read.
	Explanation string `json:"explanation,omitempty"`
	In          int    `json:"tokens_in"`
	Out         int    `json:"tokens_out"`
	// Dollars is what the verdict cost at list price. It is no part of the question's cost.
	Dollars float64 `json:"dollars"`
	// Error is why there was no reply. The judge is asked again when the run is taken up again.
	Error string `json:"error,omitempty"`
}

// JudgeInfo says, for a run's record, what a judge's verdicts depend on.
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

// unjudged says whether a judge has still to rate a record's answer.
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

// judge has every judge rate the answer that has not done so. A judge that cannot be reached is recorded; the error ends
// the run. It returns what was paid.
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

// JudgeResult is what a judge made of a policy's answers.
type JudgeResult struct {
	// Scored is over the readable verdicts alone.
	Scored
	// CategoriesMean is the mean over the categories of their means: LongMemEval's task-averaged accuracy.
	CategoriesMean float64 `json:"mean_over_categories"`
	// Abstention is over the questions whose answer is not in the history; nil if there are none. They count in Score too.
	Abstention *Interval `json:"abstention,omitempty"`
	// Unreadable replies and calls that Failed are in no mean.
	Unreadable int `json:"unreadable"`
	Failed     int `json:"failed"`
	// Usage is what judging consumed. It is no part of the policy's cost.
	Usage llm.Usage `json:"usage"`
}

// judgeResults rates a column by every judge that gave verdicts.
func judgeResults(c column, seed int64) map[string]JudgeResult {
	out := map[string]JudgeResult{}
	for _, name := range c.judges() {
		res := JudgeResult{Scored: scored(c.records, JudgeScore(name), seed)}
		var abstentions []float64
		for _, rec := range c.records {
			v, ok := rec.Judged[name]
			if !ok {
				continue
			}
			res.Usage = res.Usage.Add(rec.Judging[name])
			switch {
			case v.Error != "":
				res.Failed++
			case v.Score == nil:
				res.Unreadable++
			case rec.Abstention:
				abstentions = append(abstentions, *v.Score)
			}
		}
		var means []float64
		for _, category := range slices.Sorted(maps.Keys(res.ByCategory)) {
			means = append(means, res.ByCategory[category].Mean)
		}
		res.CategoriesMean = mean(means)
		if len(abstentions) > 0 {
			iv := Bootstrap(abstentions, seed)
			res.Abstention = &iv
		}
		out[name] = res
	}
	return out
}
