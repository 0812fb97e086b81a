package bmem

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/tiers/text"
)

// times is how the times of one history are read.
type times struct {
	order    text.DateOrder // given by the user
	calendar text.Calendar
	read     text.Reading
	known    map[string]string // times that were read, as they are written in a form that means the same to every reader
}

func readTimes(all []string, order text.DateOrder, l text.Language) *times {
	t := &times{order: order, known: map[string]string{}}
	t.calendar, t.read = text.ReadCalendar(all, order, l)
	return t
}

// reading says how the times were read; nil if there is nothing to say.
func (t *times) reading() *text.Reading {
	if t.read.Basis == "" && len(t.read.Unread) == 0 {
		return nil
	}
	r := t.read
	return &r
}

// extend takes up the times of further chunks; false if with them all are to be read again.
func (t *times) extend(chunks []chunk.Chunk) bool {
	for _, c := range chunks {
		for _, turn := range c.Turns {
			if _, ok := t.known[turn.Time]; !ok && !t.read.Settles(t.calendar, turn.Time) {
				return false
			}
		}
	}
	return true
}

func (t *times) normal(s string) string {
	n, ok := t.known[s]
	if !ok {
		n = t.calendar.Normalize(s)
		t.known[s] = n
	}
	return n
}

// timesOf lists the times of chunks in their order.
func timesOf(chunks []chunk.Chunk) []string {
	var all []string
	for _, c := range chunks {
		all = append(all, timesOfTurns(c.Turns)...)
	}
	return all
}

// bounds returns what a question may see of a history: turns from after on and before before. A turn whose time is not known
// counts by when it was added. nil if there are no bounds.
func bounds(after, before time.Time) func(chunk.Turn, time.Time) bool {
	if after.IsZero() && before.IsZero() {
		return nil
	}
	read := map[string]time.Time{} // one question is asked by one goroutine
	return func(t chunk.Turn, added time.Time) bool {
		at, ok := read[t.Time]
		if !ok {
			at, _ = text.ParseTime(t.Time)
			read[t.Time] = at
		}
		if at.IsZero() {
			at = added
		}
		return !at.Before(after) && (before.IsZero() || at.Before(before))
	}
}

// noTurnsThen is the error of a question that may see no turn.
func noTurnsThen(after, before time.Time) error {
	var when []string
	for word, t := range map[string]time.Time{"from": after, "before": before} {
		switch {
		case t.IsZero():
		case t.Equal(t.Truncate(24 * time.Hour)):
			when = append(when, word+" "+t.UTC().Format(time.DateOnly))
		default:
			when = append(when, word+" "+t.Format(time.RFC3339))
		}
	}
	slices.SortFunc(when, func(a, b string) int { return strings.Compare(b, a) }) // from … before …
	return fmt.Errorf("%w %s", ErrNoTurnsThen, strings.Join(when, " and "))
}

// timesOfTurns lists the times of turns, without repeating one that follows itself.
func timesOfTurns(turns []chunk.Turn) []string {
	var all []string
	for _, t := range turns {
		if len(all) == 0 || all[len(all)-1] != t.Time {
			all = append(all, t.Time)
		}
	}
	return all
}

// normalize writes the times of chunks in a form that means the same to every reader.
func (t *times) normalize(chunks []chunk.Chunk) {
	for i := range chunks {
		chunks[i].Time = t.normal(chunks[i].Time)
		chunks[i].Turns = t.turns(chunks[i].Turns)
	}
}

// turns returns the turns with their times so.
func (t *times) turns(turns []chunk.Turn) []chunk.Turn {
	turns = slices.Clone(turns)
	for i := range turns {
		turns[i].Time = t.normal(turns[i].Time)
	}
	return turns
}
