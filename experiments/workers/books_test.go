package workers

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/budgetmem/budgetmem/internal/money"
)

// Whatever machines ask to hold in whatever order, the sum never passes the limit, a need that fits is met, and a change that is made
// twice is the same as made once. The books that a change starts from stay as they are, since it may run again on others.
func TestBooksNeverPassTheLimit(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	b := Books{Limit: 1_000_000}
	spent := map[string]money.Picodollars{}
	for range 10_000 {
		name := fmt.Sprint(rng.IntN(8))
		h := b.Holders[name]
		spent[name] += money.Picodollars(rng.Int64N(int64(max(0, h.Held-spent[name])/8 + 1)))
		least := spent[name] + money.Picodollars(rng.Int64N(int64(max(0, h.Held-spent[name])+1)))
		need := least + money.Picodollars(rng.Int64N(20_000))
		before, _ := b.without("")
		now := b.hold(name, spent[name], least, need)
		if again := now.hold(name, spent[name], least, need); !reflect.DeepEqual(again, now) {
			t.Fatalf("made twice: %+v, once: %+v", again, now)
		}
		if after, _ := b.without(""); after != before {
			t.Fatal("the books it started from were changed")
		}
		others, _ := b.without(name)
		if got := now.Holders[name].Held; got < least || need <= b.Limit-others && got < need {
			t.Fatalf("%s holds %d, wants %d or at least %d; the others hold %d", name, got, need, least, others)
		}
		b = now
		if held, unspent := b.without(""); held > b.Limit || unspent > held {
			t.Fatalf("%d of %d held, %d not spent", held, b.Limit, unspent)
		}
	}
	if held, _ := b.without(""); held < b.Limit/2 {
		t.Errorf("only %d of %d were ever held", held, b.Limit)
	}
	// A later start keeps what earlier machines hold, whichever copy of the books has it.
	lost := Books{}.resume(2_000_000, b)
	if !reflect.DeepEqual(lost.Holders, b.Holders) || lost.Limit != 2_000_000 {
		t.Errorf("after the server lost its disk: %+v, want the holdings of %+v", lost, b)
	}
	// So it does after the server was set back.
	was := Books{Holders: maps.Clone(b.Holders)}
	was.Holders["0"] = Holding{}
	if back := was.resume(b.Limit, b); !reflect.DeepEqual(back.Holders, b.Holders) {
		t.Errorf("after the server was set back: %+v, want the holdings of %+v", back, b)
	}
}

// A machine that has no call in flight and wants to make none holds what it spent and nothing beside it. What it kept, as the process
// of a run does that only watches, would be missing to the others, and their last call would wait for it.
func TestIdleMachineHoldsNothing(t *testing.T) {
	b := Books{Limit: 1_000_000}.hold("busy", 100, 300, 400)
	if h := b.Holders["busy"]; h.Held <= 400 {
		t.Errorf("a machine with calls in flight holds %d, want more than the 400 that it needs", h.Held)
	}
	b = b.hold("watches", 0, 0, 0).hold("busy", 300, 300, 300)
	if _, unspent := b.without(""); unspent != 0 {
		t.Errorf("%d are held and not spent by idle machines: %+v", unspent, b.Holders)
	}
}
