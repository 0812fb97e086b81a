package bmem

import (
	"slices"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/tiers/text"
)

// times is how the times of one history are read.
type times struct {
	calendar text.Calendar
	reading  *text.Reading // nil if there is nothing to say
}

func readTimes(all []string, order text.DateOrder, l text.Language) times {
	calendar, r := text.ReadCalendar(all, order, l)
	if r.Basis == "" && len(r.Unread) == 0 {
		return times{calendar, nil}
	}
	return times{calendar, &r}
}

// timesOf lists the times of chunks in their order.
func timesOf(chunks []chunk.Chunk) []string {
	var all []string
	for _, c := range chunks {
		all = append(all, timesOfTurns(c.Turns)...)
	}
	return all
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
func (t times) normalize(chunks []chunk.Chunk) {
	for i := range chunks {
		chunks[i].Time = t.calendar.Normalize(chunks[i].Time)
		chunks[i].Turns = t.turns(chunks[i].Turns)
	}
}

// turns returns the turns with their times so.
func (t times) turns(turns []chunk.Turn) []chunk.Turn {
	turns = slices.Clone(turns)
	for i := range turns {
		turns[i].Time = t.calendar.Normalize(turns[i].Time)
	}
	return turns
}
