// Package punkt splits English text into sentences by the Punkt algorithm (T. Kiss and J. Strunk, Unsupervised Multilingual
// Sentence Boundary Detection, 2006) with the English model that NLTK uses.
package punkt

import (
	"strings"
	"sync"

	"gopkg.in/neurosnap/sentences.v1"
	"gopkg.in/neurosnap/sentences.v1/data"
)

// Sentences returns the sentences of text in order, without the white space between them. Text that holds only white
// space has none. It is safe for concurrent use.
func Sentences(text string) []string {
	var out []string
	for _, s := range tokenizer().Tokenize(text) {
		if t := strings.TrimSpace(s.Text); t != "" {
			out = append(out, t)
		}
	}
	return out
}

var tokenizer = sync.OnceValue(func() *sentences.DefaultSentenceTokenizer {
	model, err := data.Asset("data/english.json")
	if err != nil {
		panic("punkt: the English model is not in its package: " + err.Error())
	}
	training, err := sentences.LoadTraining(model)
	if err != nil {
		panic("punkt: the English model: " + err.Error())
	}
	return sentences.NewSentenceTokenizer(training)
})
