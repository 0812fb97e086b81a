package episodes

import "fmt"

// Stats sums up a file.
type Stats struct {
	Questions int `json:"questions"`
	Episodes  int `json:"traces"`
	// Fewest and Most are the smallest and largest number of combinations of a question.
	Fewest int `json:"fewest"`
	Most   int `json:"most"`
	// Combinations is the number of different combinations, Everywhere the number of those that every question has.
	Combinations int `json:"combinations"`
	Everywhere   int `json:"everywhere"`
	// Means over the episodes; dollars per question.
	Score         float64 `json:"score"`
	Dollars       float64 `json:"dollars"`
	AnswerDollars float64 `json:"dollars_answer"`
	// Asked lists for each module how often each tier was requested, and how often another one served.
	Asked [][]string `json:"asked"`
	// Signals counts the episodes that have each signal, by its name.
	Signals map[string]int `json:"signals_known,omitempty"`
	// Draws is the number of sampled answers.
	Draws int `json:"draws,omitempty"`
}

// Stats sums up the file.
func (f *File) Stats() Stats {
	s := Stats{Episodes: len(f.Episodes)}
	perQuestion, perCombination := map[string]int{}, map[string]int{}
	asked, elsewhere := make([]map[int]int, len(f.Space)), make([]map[int]int, len(f.Space))
	for m := range f.Space {
		asked[m], elsewhere[m] = map[int]int{}, map[int]int{}
	}
	for _, t := range f.Episodes {
		perQuestion[t.ID]++
		perCombination[fmt.Sprint(t.Choices)]++
		s.Score += t.Score / float64(len(f.Episodes))
		s.Dollars += t.Outcome().Dollars / float64(len(f.Episodes))
		s.AnswerDollars += t.AnswerDollars / float64(len(f.Episodes))
		s.Draws += len(t.Draws)
		for _, signals := range []map[string]float64{t.Signals, t.AnswerSignals} {
			for name := range signals {
				if s.Signals == nil {
					s.Signals = map[string]int{}
				}
				s.Signals[name]++
			}
		}
		for m, tier := range t.Choices {
			asked[m][tier]++
			if m < len(t.Served) && t.Served[m] != f.Space[m].Tiers[tier] {
				elsewhere[m][tier]++
			}
		}
	}
	s.Questions, s.Combinations = len(perQuestion), len(perCombination)
	for _, n := range perQuestion {
		s.Most = max(s.Most, n)
		if s.Fewest == 0 || n < s.Fewest {
			s.Fewest = n
		}
	}
	for _, n := range perCombination {
		if n == s.Questions {
			s.Everywhere++
		}
	}
	for m, module := range f.Space {
		var parts []string
		for i, tier := range module.Tiers {
			part := fmt.Sprintf("%s %d", tier, asked[m][i])
			if n := elsewhere[m][i]; n > 0 {
				part += fmt.Sprintf(" (%d served by another tier)", n)
			}
			parts = append(parts, part)
		}
		s.Asked = append(s.Asked, parts)
	}
	return s
}
