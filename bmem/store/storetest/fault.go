package storetest

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/bmem/chunk/chunktest"
	"github.com/budgetmem/budgetmem/bmem/embed/embedtest"
	"github.com/budgetmem/budgetmem/bmem/store"
)

var errFault = errors.New("this statement fails")

// faulty is a database of whose next change one statement fails.
type faulty struct {
	store.Database
	armed bool
	left  int // statements until the one that fails
}

func (f *faulty) Change(ctx context.Context, access store.Access, fn func(store.Tx) error) error {
	if !f.armed {
		return f.Database.Change(ctx, access, fn)
	}
	f.armed = false
	return f.Database.Change(ctx, access, func(tx store.Tx) error { return fn(faultyTx{tx, f}) })
}

type faultyTx struct {
	store.Tx
	f *faulty
}

func (t faultyTx) Exec(query string, args ...any) error {
	if t.f.left--; t.f.left == 0 {
		return errFault
	}
	return t.Tx.Exec(query, args...)
}

func (t faultyTx) Query(query string, args ...any) (store.Rows, error) {
	if t.f.left--; t.f.left == 0 {
		return nil, errFault
	}
	return t.Tx.Query(query, args...)
}

// Whichever statement of a change fails, nothing of it is stored, and once none fails all of it is.
func failedStatementsLeaveNothing(t *testing.T, p Place) {
	ctx, e := t.Context(), &embedtest.Words{}
	f := &faulty{Database: p.Database(t)}
	s, reader := openOn(t, f), p.open(t)
	turns := chunktest.History(12)
	turns[11].Text = "A long turn. " + turns[11].Text + turns[10].Text + turns[9].Text + turns[8].Text
	add(t, s, "m", turns[:6])
	if err := s.Embed(ctx, "m", e, true, nil); err != nil {
		t.Fatal(err)
	}
	type state struct {
		infos []store.Info
		all   []store.Memory
	}
	look := func() (now state) {
		infos, err := reader.List(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, info := range infos {
			now.all = append(now.all, memoryOf(t, reader, info.Name))
			info.Changed = info.Created // seconds pass
			now.infos = append(now.infos, info)
		}
		return now
	}
	for _, change := range []struct {
		name string
		do   func() error
	}{
		{"append", func() error { return second(s.Append(ctx, "m", turns, cutter, store.AddOptions{})) }},
		{"append to a new memory", func() error { return second(s.Append(ctx, "n", turns, cutter, store.AddOptions{})) }},
		{"rename", func() error { return s.Rename(ctx, "n", "o") }},
		{"edit", func() error {
			return s.Edit(ctx, "m", chunk.Turn{ID: "t11", Speaker: "Ann", Text: "Short now."}, cutter)
		}},
		{"expire", func() error { return s.SetExpiry(ctx, "m", time.Now().Add(time.Hour), nil) }},
		{"forget turns", func() error {
			return second(s.Forget(ctx, store.Selection{Memory: "m", Turns: []string{"t1", "t2", "t7"}}))
		}},
		{"forget a memory", func() error { return second(s.Forget(ctx, store.Selection{Memory: "o", All: true})) }},
	} {
		before, failures := look(), 0
		for {
			f.armed, f.left = true, failures+1
			err := change.do()
			if err == nil {
				break
			}
			if !errors.Is(err, errFault) {
				t.Fatalf("%s, statement %d: %v", change.name, failures+1, err)
			}
			failures++
			if now := look(); !reflect.DeepEqual(now, before) {
				t.Fatalf("%s: after statement %d failed, there is\n%+v\nbefore it was\n%+v", change.name, failures, now, before)
			}
		}
		if failures < 3 {
			t.Errorf("%s: only %d statements failed", change.name, failures)
		}
		if reflect.DeepEqual(look(), before) {
			t.Errorf("%s changed nothing", change.name)
		}
		if _, err := reader.ReadIndex(ctx, "m", e, true, -1, nil); err != nil {
			t.Errorf("%s: %v", change.name, err)
		}
		if err := reader.Check(ctx); err != nil {
			t.Errorf("%s: %v", change.name, err)
		}
	}
}
