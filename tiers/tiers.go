// Package tiers holds the five modules that extract what a question needs from retrieved chunks, and the answer, each at
// several budget tiers. A tier knows nothing of routers: it is asked for, it runs, and it says what it served and what that cost.
package tiers

import (
	"context"
	"slices"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/text"
)

// Module names one of the steps.
type Module int

// The modules, in the order of decision and execution. Entity, Temporal and Topic do not depend on one another, and a set may
// do without them. Answering has tiers in sets that say how answers may be written; in others, one model writes all answers in
// one way.
const (
	Filter Module = iota
	Entity
	Temporal
	Topic
	Summary
	Answering
	NumModules int = iota
)

var moduleNames = [NumModules]string{"filter", "entity", "temporal", "topic", "summary", "answer"}

// String returns the module's lower-case name.
func (m Module) String() string { return moduleNames[m] }

// Modules lists all modules in order.
func Modules() []Module { return []Module{Filter, Entity, Temporal, Topic, Summary, Answering} }

// Item is a retrieved chunk with what retrieval knows about it.
type Item struct {
	chunk.Chunk
	// Vector is the chunk's unit embedding [d] float32.
	Vector []float32
	// Score is the retrieval score (larger is better; its scale is the retriever's).
	Score float64
	// TurnScores holds, for each of the chunk's turns, the probability in [0,1] that it is evidence, as the retriever sees
	// it; nil if it gives none.
	TurnScores []float64
	// Relevance in [0,1] is the filter's verdict.
	Relevance float64
}

// Input is what a module may read. Each module reads the fields that its row in the package doc names.
type Input struct {
	// Query is the question and QueryVector its unit embedding [d] float32.
	Query       string
	QueryVector []float32
	// Language is that of the memory; the zero value is English.
	Language text.Language
	// QueryDate is when the question is asked; "" if the data set does not say.
	QueryDate string
	// Items are the retrieved chunks (filter) or the kept ones (all others), best first.
	Items []Item
	// TopK is the most items the filter may keep; its method "all" keeps each.
	TopK int
	// Entity, Temporal and Topic are what the relation modules returned (summary only).
	Entity, Temporal, Topic []string
	// Notes is the summary's text, and Style the form that the answer is asked in (answer only).
	Notes string
	Style AnswerStyle
}

// Output is what a module returns. Each module fills its own field.
type Output struct {
	Kept  []Item   `json:"-"`               // filter: at most TopK unless it keeps all, best first
	Facts []string `json:"facts,omitempty"` // entity, temporal, topic
	Text  string   `json:"text,omitempty"`  // summary
	// Quoted holds the ids of the turns that the text quotes; nil if it is written in words of its own (summary).
	Quoted []string `json:"-"`
	// Answer is the reply and what is taken out of it; its Text is Text (answer).
	Answer Answer `json:"-"`
	Step   Step   `json:"-"`
}

// Step records how a module was served. A tier that could not do what was asked says so here; it is never silent.
type Step struct {
	Asked  string `json:"asked"`         // tier asked for: "low", "mid", "high"
	Served string `json:"served"`        // tier that produced the output
	Why    string `json:"why,omitempty"` // reason of a difference between the two, as text
	// Cause is the error that made another tier serve, for errors.Is and errors.As; nil if none did. It is not stored: a step
	// that was read from a file has only Why.
	Cause  error     `json:"-"`
	Method string    `json:"method"`          // method that produced the output, such as "rules" or "llm"
	Model  string    `json:"model,omitempty"` // model that was asked; "" if none was
	Usage  llm.Usage `json:"usage"`           // model calls made, failed ones included
	MS     float64   `json:"ms"`              // wall time of the module, milliseconds
	Notes  []string  `json:"notes,omitempty"` // parse repairs and other things worth seeing
}

// Tier is one way of doing one module.
type Tier interface {
	// Name is "low", "mid", "high" or what a tier set calls it.
	Name() string
	// Run does the module's work. An error means that the module produced nothing usable: the question then fails and is
	// counted; it is not scored 0. Failures that the tier can bridge by a lower tier are bridged and recorded in Step.
	Run(ctx context.Context, in Input) (Output, error)
	// WorstCase is the most that Run can cost on this input, in dollars, each of its calls answered at the first attempt. It
	// asks no language model. The error is an llm.ErrUnpriced if a model that Run would ask was not made by llm.Stack.
	WorstCase(ctx context.Context, in Input) (dollars float64, err error)
}

// Keeper is a Tier of the filter that says whether it keeps every chunk, however many Input.TopK allows.
type Keeper interface {
	KeepsAll() bool
}

// Set holds the tiers of every module, cheapest first: Set[Filter][0] is the filter's lowest tier. A module that the set does
// without has none.
type Set [NumModules][]Tier

// Routed lists the modules whose tier is to be chosen, in order: those that have tiers.
func (s Set) Routed() []Module {
	return slices.DeleteFunc(Modules(), func(m Module) bool { return len(s[m]) == 0 })
}
