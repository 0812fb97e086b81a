package text

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Reading says how the times of a history were read.
type Reading struct {
	// Order is how dates of three numbers were read; "" if there are none, or if those that can be read in several ways were
	// not read because the history mixes orders.
	Order DateOrder `json:"order,omitempty"`
	// Basis says what the order rests on; "" without one.
	Basis Basis `json:"basis,omitempty"`
	// Examples are dates that show it; for a given order, those that cannot be read in it and are read in the one way they can.
	Examples []string `json:"examples,omitempty"`
	// Unread holds the times that were not read as dates, each once, the first few; they are shown as written.
	Unread []string `json:"unread,omitempty"`
}

// Basis is what the order of numeric dates in a history rests on.
type Basis string

// The bases, the firmest first.
const (
	Given      Basis = "given"    // the caller said it
	Shown      Basis = "shown"    // other orders have no such dates: 13/04/2025
	InSequence Basis = "sequence" // in this order alone no session lies before the one above it
	Assumed    Basis = "assumed"  // nothing shows it; dates put the day first, but in English those with slashes the month
	Mixed      Basis = "mixed"    // no one order reads all dates
)

// maxExamples bounds the lists of a Reading.
const maxExamples = 5

// ReadCalendar decides in which order the numeric dates of a history are read, from all its times in their order: in the given
// one if it is not "", else in the one that the times themselves show, else in the one that is usual where the history's language
// is spoken. The Reading says what that rests on.
func ReadCalendar(times []string, given DateOrder, l Language) (Calendar, Reading) {
	times = distinctTimes(times)
	var numeric []numericTime
	for _, s := range times {
		if _, ok := parseCommon(s); ok {
			continue
		}
		if n, ok := parseNumeric(s); ok && n.width[0] != 4 && len(n.orders()) > 0 {
			numeric = append(numeric, n)
		}
	}
	r := Reading{}
	if len(numeric) > 0 {
		r = readOrder(numeric, given, l)
	}
	c := Calendar{r.Order}
	for _, s := range times {
		if _, ok := c.Parse(s); !ok && len(r.Unread) < maxExamples {
			r.Unread = append(r.Unread, s)
		}
	}
	return c, r
}

// Settles reports whether one more time at the end of the history, with this Reading and this Calendar, is read by them, so that
// the history need not be read again.
func (r Reading) Settles(c Calendar, s string) bool {
	if s = strings.TrimSpace(s); s == "" {
		return true
	}
	if _, ok := parseCommon(s); ok {
		return true
	}
	if n, ok := parseNumeric(s); ok && n.width[0] != 4 {
		if orders := n.orders(); len(orders) > 0 {
			return (r.Basis == Given || r.Basis == Shown) && slices.Contains(orders, r.Order)
		}
	}
	_, ok := c.Parse(s)
	return ok || len(r.Unread) == maxExamples || slices.Contains(r.Unread, s)
}

func distinctTimes(times []string) []string {
	seen := map[string]bool{}
	var out []string
	for _, s := range times {
		if s = strings.TrimSpace(s); s != "" && !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	return out
}

// readOrder decides the order of numeric dates, of which there is at least one.
func readOrder(numeric []numericTime, given DateOrder, l Language) Reading {
	if given != "" {
		r := Reading{Order: given, Basis: Given}
		for _, n := range numeric {
			if _, ok := n.read(given); !ok && len(r.Examples) < maxExamples {
				r.Examples = append(r.Examples, n.text)
			}
		}
		return r
	}
	open, any := DateOrders(), []DateOrder(nil) // the orders that read all dates, and those that read some
	for _, n := range numeric {
		can := n.orders()
		open = slices.DeleteFunc(open, func(o DateOrder) bool { return !slices.Contains(can, o) })
		any = append(any, can...)
	}
	var examples []string // dates that cannot be read in every order in which others can
	for _, n := range numeric {
		can := n.orders()
		if slices.ContainsFunc(any, func(o DateOrder) bool { return !slices.Contains(can, o) }) && len(examples) < maxExamples {
			examples = append(examples, n.text)
		}
	}
	switch len(open) {
	case 0:
		return Reading{Basis: Mixed, Examples: examples}
	case 1:
		return Reading{Order: open[0], Basis: Shown, Examples: examples}
	}
	inSequence := slices.DeleteFunc(slices.Clone(open), func(o DateOrder) bool { return !sequence(numeric, o) })
	if len(inSequence) == 1 {
		return Reading{Order: inSequence[0], Basis: InSequence}
	}
	if len(inSequence) > 1 {
		open = inSequence
	}
	return Reading{Order: convention(numeric, open, l), Basis: Assumed, Examples: []string{numeric[0].text}}
}

// sequence reports whether no date lies before the one above it.
func sequence(numeric []numericTime, o DateOrder) bool {
	var last time.Time
	for _, n := range numeric {
		t, _ := n.read(o)
		if t.Before(last) {
			return false
		}
		last = t
	}
	return true
}

// convention returns the order that is usual for the way the dates are written: where the month comes first, slashes and
// English are written.
func convention(numeric []numericTime, open []DateOrder, l Language) DateOrder {
	usual := DMY
	foreign := slices.ContainsFunc(numeric, func(n numericTime) bool { return n.foreign })
	if strings.Contains(numeric[0].text, "/") && !foreign && (l == English || l == Unknown) {
		usual = MDY
	}
	if slices.Contains(open, usual) {
		return usual
	}
	return open[0]
}

// Notes says in sentences what a user should know of the reading: what was concluded or assumed, and what was not read.
// There are none if every date was plain.
func (r Reading) Notes() []string {
	var notes []string
	examples := strings.Join(r.Examples, ", ")
	switch r.Basis {
	case Given:
		if len(r.Examples) > 0 {
			notes = append(notes, fmt.Sprintf("dates are read %s as asked for, but for %s, which cannot be read so", r.Order.words(), examples))
		}
	case Shown:
		if len(r.Examples) == 0 { // each date can be read in one way only
			break
		}
		notes = append(notes, fmt.Sprintf("dates are read %s, as %s shows", r.Order.words(), examples))
	case InSequence:
		notes = append(notes, fmt.Sprintf("dates are read %s: only so do the sessions follow one another in time", r.Order.words()))
	case Assumed:
		notes = append(notes, fmt.Sprintf("dates such as %s are assumed to be written %s, as nothing in the conversation shows it", examples, r.Order.words()))
	case Mixed:
		notes = append(notes, fmt.Sprintf("dates are written in different orders (%s); those that can be read in two ways are left as written", examples))
	}
	if len(r.Unread) > 0 {
		notes = append(notes, fmt.Sprintf("times not read as dates, and left as written: %q", r.Unread))
	}
	return notes
}
