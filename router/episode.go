package router

import (
	"errors"
	"fmt"
	"math"
)

// Episode is what was measured of one question under one choice of tiers. Learning and evaluation replay episodes instead
// of paying for the question again.
type Episode struct {
	// ID identifies the question; episodes with equal IDs are measurements of one question.
	ID       string `json:"id"`
	Category string `json:"category"`
	// Question is the question's text.
	Question string `json:"question"`
	// Choices holds the requested tier of each module, an index into the module's tiers.
	Choices []int `json:"-"`
	// Served names the tier of each module that served; it differs from the requested one where a module fell back.
	Served []string `json:"served"`
	// Score is the answer's quality, such as F1 in [0, 1].
	Score float64 `json:"score"`
	// ModulesDollars is the price of the modules' calls, AnswerDollars that of the answer's call, in dollars.
	ModulesDollars float64 `json:"dollars_modules"`
	AnswerDollars  float64 `json:"dollars_answer"`
	// In and Out count the tokens of all calls.
	In  int `json:"tokens_in"`
	Out int `json:"tokens_out"`
	// MS is the latency in milliseconds.
	MS float64 `json:"ms"`
	// Query is the question's embedding [dim]. Memory holds the memory embeddings [dim] that the modules are decided on, by
	// the numbers in Shape.MemoryIndex; nil where nothing was found.
	Query  []float32   `json:"-"`
	Memory [][]float32 `json:"-"`
	// Signals are what was known when the last module was decided, and AnswerSignals what the answer's own words told, both by
	// name and in natural units; nil where they were not measured.
	Signals       map[string]float64 `json:"signals,omitempty"`
	AnswerSignals map[string]float64 `json:"answer_signals,omitempty"`
	// Answer is the answer's text, and Quoted holds the ids of the turns that the notes quote; empty in traces of version 1, and Quoted
	// also where notes are in words of their own.
	Answer string   `json:"answer,omitempty"`
	Quoted []string `json:"quoted,omitempty"`
	// Calls are the calls of models by step, in the order of execution; nil in traces of version 1.
	Calls []Calls `json:"calls,omitempty"`
	// Draws are the sampled replies that the answer was chosen from; nil where one was asked for.
	Draws []Draw `json:"draws,omitempty"`
	// Propensity is the probability, in (0, 1], that this combination of tiers was measured for the question. 0 means that
	// the measured combinations were drawn uniformly: their number divided by the number of all combinations.
	Propensity float64 `json:"propensity,omitempty"`
}

// Calls are the calls that one step of an episode made.
type Calls struct {
	// Step is the module's name or "answer", and Model the model that it asked.
	Step  string `json:"step"`
	Model string `json:"model,omitempty"`
	// Calls is their number, In and Out are their tokens.
	Calls   int     `json:"calls"`
	In      int     `json:"tokens_in"`
	Out     int     `json:"tokens_out"`
	Dollars float64 `json:"dollars"`
}

// Draw is a sampled answer.
type Draw struct {
	Answer string  `json:"answer"`
	Score  float64 `json:"score"`
	// LogProb is the natural logarithm of the reply's probability; nil if it is not known.
	LogProb *float64 `json:"logprob,omitempty"`
}

// Detailed reports whether the episode holds what traces of version 1 do not.
func (e Episode) Detailed() bool {
	return e.Answer != "" || e.Quoted != nil || e.Calls != nil || e.Draws != nil || e.Signals != nil || e.AnswerSignals != nil
}

// Outcome is the episode's score and total price.
func (e Episode) Outcome() Outcome {
	return Outcome{Score: e.Score, Dollars: e.ModulesDollars + e.AnswerDollars}
}

// Check returns an error if the episode does not fit a router of the shape, whose zero fields are filled in, or holds numbers out
// of range.
func (e Episode) Check(s Shape) error {
	if len(e.Query) != s.Dim || len(e.Memory) != s.Memories() || len(e.Choices) != len(s.Modules) {
		return fmt.Errorf("query of %d numbers, %d memories, %d choices; the router has dim %d, %d memories, %d modules",
			len(e.Query), len(e.Memory), len(e.Choices), s.Dim, s.Memories(), len(s.Modules))
	}
	for i, m := range e.Memory {
		if len(m) != 0 && len(m) != s.Dim {
			return fmt.Errorf("memory %d has %d numbers, the router has dim %d", i, len(m), s.Dim)
		}
	}
	for m, c := range e.Choices {
		if c < 0 || c >= len(s.Modules[m].Tiers) {
			return fmt.Errorf("module %s has no tier %d", s.Modules[m].Name, c)
		}
	}
	for _, signals := range []map[string]float64{e.Signals, e.AnswerSignals} {
		for name, v := range signals {
			if math.IsNaN(v) || math.IsInf(v, 0) {
				return fmt.Errorf("signal %s is %v", name, v)
			}
		}
	}
	if !e.Outcome().valid() || !(e.Propensity >= 0 && e.Propensity <= 1) {
		return fmt.Errorf("score %v, dollars %v, propensity %v are out of range", e.Score, e.Outcome().Dollars, e.Propensity)
	}
	return nil
}

// CheckEpisodes fills in zero fields of a shape and returns an error if there are no episodes or one does not fit it;
// the error names the episode's index and question.
func CheckEpisodes(shape Shape, episodes []Episode) (Shape, error) {
	shape, err := shape.complete()
	if err != nil {
		return shape, err
	}
	if len(episodes) == 0 {
		return shape, errors.New("there are no episodes")
	}
	for i, e := range episodes {
		if err := e.Check(shape); err != nil {
			return shape, fmt.Errorf("episode %d (question %q): %w", i, e.ID, err)
		}
	}
	return shape, nil
}

// Outcome is what one question earned and cost.
type Outcome struct {
	// Score is the answer's quality in [0, 1], such as F1.
	Score float64 `json:"score"`
	// Dollars is the price of all calls for the question, including the answer's and excluding a judge's.
	Dollars float64 `json:"dollars"`
}

// valid says whether the score is finite and the price finite and not negative.
func (o Outcome) valid() bool {
	return !math.IsNaN(o.Score) && !math.IsInf(o.Score, 0) && o.Dollars >= 0 && !math.IsInf(o.Dollars, 0)
}
