// Package datasets reads the benchmarks: LoCoMo, LongMemEval and HotpotQA behind one Dataset, each with fixed splits.
//
// Most of the data is embedded; files/README.md says what, from where, under which licence, and how the splits are made. Larger
// files are looked for in the folder of Options.DataDir or of the environment variable BUDGETMEM_DATA.
package datasets

import (
	"context"

	"github.com/budgetmem/budgetmem/bmem/chunk"
)

// History is one memory to be questioned: a conversation of many sessions or a pile of documents.
type History struct {
	ID    string
	Turns []chunk.Turn
}

// Question is one question about one history.
type Question struct {
	ID      string `json:"id"`
	History string `json:"history"`
	Text    string `json:"question"`
	// Date is when the question is asked; "" unless the data set says.
	Date string `json:"date,omitempty"`
	// Gold holds the accepted answers, at least one.
	Gold []string `json:"gold"`
	// Category is the data set's own, such as "multi-hop" or "comparison".
	Category string `json:"category"`
	// Abstention says that the history does not hold the answer, and that Gold says why.
	Abstention bool `json:"abstention,omitempty"`
	// Evidence holds the ids of the turns that contain the answer, as far as they resolve; it may be empty.
	Evidence []string `json:"evidence,omitempty"`
	// EvidenceDropped counts the evidence ids of the source that name no turn and are therefore not in Evidence.
	EvidenceDropped int `json:"evidence_dropped,omitempty"`
	// EvidenceSessions holds the sessions (or documents) of the evidence.
	EvidenceSessions []string `json:"evidence_sessions,omitempty"`
}

// Split names the part of a data set that may be looked at while choosing settings.
type Split string

// The splits that selection may use. The test split has a method of its own.
const (
	Train      Split = "train"
	Validation Split = "validation"
)

// Dataset is one benchmark. Implementations are safe for concurrent use.
type Dataset interface {
	// Name is one of Names: "locomo", "locomo-unanswerable", "longmemeval", "longmemeval-oracle", "hotpotqa", "hotpotqa-200", "hotpotqa-full",
	// or that of a data set of one's own.
	Name() string
	// Hash identifies the data and the splits, for a run's record: a sha256 over the files and the split index, in hex.
	Hash() string
	// ChunkTokens is the chunk size, in embedder tokens, that the benchmark is run with.
	ChunkTokens() int
	// Metric names the score reported first, as datasets/score knows it.
	Metric() string
	// Questions returns a split's questions in the order they are trained on. A file that is not there is
	// ErrMissingData; a broken one is named with its record and field.
	Questions(ctx context.Context, split Split) ([]Question, error)
	// Test returns the test questions. It is a call of its own so that no selection code reads them by a changed flag.
	Test(ctx context.Context) ([]Question, error)
	// History returns the memory a question asks about. Its turns are shared; do not change them.
	History(ctx context.Context, id string) (History, error)
}
