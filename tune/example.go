// Package tune fine-tunes the local language models: it makes examples from a data set's training questions by the
// product's own pipeline, trains a low-rank adapter (LoRA, Hu et al. 2021) on them with GoMLX, and writes it in the format
// of PEFT.
//
// Only the adapter's matrices are trained, and only in the top layers if so configured: then the hidden states that the
// frozen lower layers give for each example are computed once and kept on disk. The loss is on the answers' tokens alone.
//
// The files of a run:
//
//	config.json      everything that decides its results
//	metrics.jsonl    one line a step: loss, gradient norm, learning rate, and the validation loss where it was taken
//	hidden/          what the frozen layers gave, for the examples of the run
//	checkpoint/      the last state, with the optimizer's, from which the run resumes
//	last/, best/     the adapter after the last step, and the one with the lowest validation loss
package tune

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/budgetmem/budgetmem/internal/atomicfile"
	"github.com/budgetmem/budgetmem/tiers"
	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/local"
)

// Example is a question and the answer that a model shall learn to give: a line of a JSON Lines file. Question and Answer
// are required. Prompt, if given, is the whole prompt and stands in place of the template with Notes, Date and Question.
type Example struct {
	ID       string `json:"id,omitempty"`
	Variant  string `json:"variant,omitempty"` // how the notes were made; see Variants
	Notes    string `json:"notes,omitempty"`
	Date     string `json:"date,omitempty"` // when the question is asked
	Question string `json:"question,omitempty"`
	Prompt   string `json:"prompt,omitempty"`
	Answer   string `json:"answer"`
	Category string `json:"category,omitempty"`
	// Test says that it is a test question: no run trains on it or validates with it.
	Test bool `json:"test,omitempty"`
	// Evidence tells how much of the question's evidence got as far as the notes; nil where the data set names none.
	Evidence *Evidence `json:"evidence,omitempty"`
}

// Evidence is how much of the turns that answer a question got how far, as shares from 0 to 1.
type Evidence struct {
	Retrieved float64 `json:"retrieved"` // among the turns of the retrieved chunks
	Quoted    float64 `json:"quoted"`    // in the notes
}

// Messages returns the prompt as the product's answer step writes it for a tuned model.
func (e Example) Messages(template string) ([]llm.Message, error) {
	if e.Prompt != "" {
		return []llm.Message{{Role: llm.User, Content: e.Prompt}}, nil
	}
	return tiers.TunedPrompt(template, e.Notes, e.Question, e.Date)
}

// Tokenize returns the example as a training sees it: the tokens of the prompt that Messages writes, and behind them the answer's.
// prompt is how many the former are.
func (e Example) Tokenize(base *local.Base, template string) (tokens []int32, prompt int, err error) {
	messages, err := e.Messages(template)
	if err != nil {
		return nil, 0, err
	}
	before, answer, err := base.Encode(messages, e.Answer)
	return append(before, answer...), len(before), err
}

func (e Example) check() error {
	switch {
	case strings.TrimSpace(e.Answer) == "":
		return errors.New(`field "answer" is missing or empty`)
	case e.Prompt == "" && strings.TrimSpace(e.Question) == "":
		return errors.New(`field "question" is missing or empty, and so is "prompt"`)
	case e.Prompt != "" && (e.Notes != "" || e.Date != ""):
		return errors.New(`field "prompt" is the whole prompt; "notes" and "date" have no meaning beside it`)
	}
	return nil
}

// ReadExamples reads a JSON Lines file of examples. Fields that Example does not have are ignored. The error names file, line
// and field.
func ReadExamples(path string) ([]Example, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read examples: %w", err)
	}
	defer f.Close()
	examples, err := parseExamples(path, f)
	if err == nil && len(examples) == 0 {
		err = fmt.Errorf("read examples: %s holds none", path)
	}
	return examples, err
}

// maxLine bounds a line of a file of examples, in bytes.
const maxLine = 16 << 20

func parseExamples(name string, r io.Reader) ([]Example, error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	var examples []Example
	n := 0
	for lines.Scan() {
		n++
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		var e Example
		err := json.Unmarshal(lines.Bytes(), &e)
		if err == nil {
			err = e.check()
		}
		if err != nil {
			return nil, fmt.Errorf("read examples: %s, line %d: %w", name, n, err)
		}
		examples = append(examples, e)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read examples: %s, after line %d: %w", name, n, err)
	}
	return examples, nil
}

// WriteExamples writes a JSON Lines file of examples that ReadExamples reads.
func WriteExamples(path string, examples []Example) error {
	return atomicfile.Write(path, 0o644, func(w io.Writer) error {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		for _, e := range examples {
			if err := enc.Encode(e); err != nil {
				return err
			}
		}
		return nil
	})
}
