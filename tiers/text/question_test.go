package text

import "testing"

func TestQuestionForm(t *testing.T) {
	for question, want := range map[string]Form{
		"When did Caroline go to the LGBTQ support group?":         {Date: true},
		"What year did Gina open her store?":                       {Date: true},
		"How long ago was Caroline's 18th birthday?":               {Date: true},
		"What activities does Melanie partake in?":                 {List: true},
		"Which books has Tim read?":                                {List: true},
		"What kinds of art does Caroline make?":                    {List: true},
		"In what ways is Caroline participating in the community?": {List: true},
		"What are Melanie's children's names?":                     {List: true},
		"Would Caroline pursue writing as a career option?":        {YesNo: true},
		"Did Ann move?":                     {YesNo: true},
		"Isn't Bern in Switzerland?":        {YesNo: true},
		"What is Caroline's identity?":      {},
		"What was the name of the dog?":     {},
		"Who supports Caroline?":            {},
		"Which class did Rita sign up for?": {},
		"":                                  {},
	} {
		if got := QuestionForm(question); got != want {
			t.Errorf("%q: %+v, want %+v", question, got, want)
		}
	}
}
