// Package storetest holds kinds of databases to the contract of store.Database: whatever a memory is kept in, it is cut, found, changed and
// forgotten alike.
package storetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/bmem/chunk/chunktest"
	"github.com/budgetmem/budgetmem/bmem/store"
)

// Place is where one store lies. It is empty at first.
type Place struct {
	// Database opens the database there, as another process would.
	Database func(t testing.TB) store.Database
	// Exec runs SQL beside the store.
	Exec func(t testing.TB, statement string)
	// Holds says where a text is still to be found.
	Holds func(t testing.TB, text string) []string
}

// test is a part of the contract.
type test struct {
	name string
	run  func(*testing.T, Place)
}

// Run tests a kind of database, with a new place for each test.
func Run(t *testing.T, place func(t testing.TB) Place) {
	runAll(t, place, []test{
		{"RoundTrip", roundTrip},
		{"AppendCutsAsSplitDoes", appendCutsAsSplitDoes},
		{"AppendSkipsAndRefuses", appendSkipsAndRefuses},
		{"AnyBytes", anyBytes},
		{"PagesOfTurns", pagesOfTurns},
		{"WhatIsNotThere", whatIsNotThere},
		{"Editions", editions},
		{"GenerationsCountChanges", generationsCountChanges},
		{"ForgottenTextIsGone", forgottenTextIsGone},
		{"RepliesAreForgottenOnce", repliesAreForgottenOnce},
		{"Facts", facts},
		{"ChangedWordsAreFound", changedWordsAreFound},
		{"ChangedFactsAreComputedAgain", changedFactsAreComputedAgain},
		{"ManyAtOnce", manyAtOnce},
		{"NothingIsKeptOfWhatIsForgottenMeanwhile", nothingIsKeptOfWhatIsForgottenMeanwhile},
		{"ContextEndsWaiting", contextEndsWaiting},
		{"FailedStatementsLeaveNothing", failedStatementsLeaveNothing},
	})
	Vectors(t, place)
}

// Vectors tests how a kind of database keeps vectors, as a part of Run.
func Vectors(t *testing.T, place func(t testing.TB) Place) {
	runAll(t, place, []test{
		{"EditAndForgetKeepTheRest", editAndForgetKeepTheRest},
		{"NothingIsEmbeddedTwice", nothingIsEmbeddedTwice},
		{"FailureKeepsFinishedBatches", failureKeepsFinishedBatches},
		{"WrongWidthsAreRefused", wrongWidthsAreRefused},
		{"ChangedTimesAndVectorsAreFound", changedTimesAndVectorsAreFound},
		{"IndexIsReadInOrder", indexIsReadInOrder},
		{"OthersSeeAdds", othersSeeAdds},
	})
}

func runAll(t *testing.T, place func(t testing.TB) Place, tests []test) {
	t.Helper()
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.run(t, place(t)) })
	}
}

// open opens the store of a place until the test ends.
func (p Place) open(t testing.TB) *store.Store {
	t.Helper()
	return openOn(t, p.Database(t))
}

func openOn(t testing.TB, db store.Database) *store.Store {
	t.Helper()
	s, err := store.New(context.Background(), db)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

var cutter = store.Cutter{Count: chunktest.Count, MaxTokens: chunktest.MaxTokens}

// randomTurns makes turns of mixed lengths, some longer than a chunk, in sessions that may come back.
func randomTurns(rng *rand.Rand, n int) []chunk.Turn {
	turns := make([]chunk.Turn, n)
	session := 0
	for i := range turns {
		if rng.IntN(6) == 0 {
			session = rng.IntN(4)
		}
		words := make([]string, 1+rng.IntN(12))
		if rng.IntN(12) == 0 {
			words = make([]string, 60)
		}
		for j := range words {
			words[j] = fmt.Sprintf("w%d", rng.IntN(500))
		}
		turns[i] = chunk.Turn{ID: fmt.Sprint("t", i), Session: fmt.Sprint("s", session), Speaker: []string{"Ann", "Bo"}[i%2], Text: strings.Join(words, " ") + "."}
	}
	return turns
}

func add(t testing.TB, s *store.Store, name string, turns []chunk.Turn) {
	t.Helper()
	if _, err := s.Append(t.Context(), name, turns, cutter, store.AddOptions{}); err != nil {
		t.Fatal(err)
	}
}

func memoryOf(t testing.TB, s *store.Store, name string) store.Memory {
	t.Helper()
	m, err := s.Memory(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// textsOf are the texts that are embedded of a chunk.
func textsOf(c chunk.Chunk) []string {
	texts := []string{c.Text()}
	for _, turn := range c.Turns {
		texts = append(texts, turn.String())
	}
	return texts
}

func second[T any](_ T, err error) error { return err }
