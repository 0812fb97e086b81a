package frontier

import "fmt"

// Verdict says in one sentence for each trained family whether it earns more than the best static assignments, with the
// 95 % interval over questions and seeds of the difference in mean return. It is "" where nothing was trained.
func (r *Result) Verdict() string {
	text := ""
	for _, e := range r.Entries {
		d := e.ReturnVersus
		if !e.Trained || d == nil {
			continue
		}
		found := "no difference that these questions show"
		switch {
		case d.Seeds[0] > 0:
			found = "better"
		case d.Seeds[1] < 0:
			found = "worse"
		}
		if text != "" {
			text += " "
		}
		text += fmt.Sprintf("%s beside the best static assignments on %d %s %s questions: %s; mean return over λ %.4f, difference %+.4f, 95 %% interval %s.",
			e.Name, r.Questions, r.Dataset, r.Split, found, e.MeanReturn, d.Mean, bracket(d.Seeds, "%+.4f"))
	}
	return text
}
