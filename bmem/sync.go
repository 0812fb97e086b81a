package bmem

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/bmem/conversation"
	"github.com/budgetmem/budgetmem/bmem/store"
)

// SyncOption changes one Sync.
type SyncOption func(*syncing)

type syncing struct{ source string }

// WithSource gives the path of the file that the conversation is in. Its memory is then known by that.
func WithSource(path string) SyncOption { return func(s *syncing) { s.source = path } }

// editionKept is the share of a memory's turns that a later edition of its conversation has unchanged.
const editionKept = 0.75

// Sync makes a memory of a conversation as it is now, in a file say, and returns the memory's name. The memory that an earlier
// Sync made of the same file is brought up to date: what is new is added, what has changed is replaced, and what is gone from the
// conversation is forgotten. The memories of other files stay as they are: two files that begin alike are two memories. The one
// exception is a copy from which turns were cut, so that what somebody removed does not stay behind: a file that Sync has not seen,
// written after a memory was last changed, with no turn that this has not and three quarters of its turns unchanged, takes it over. Without
// a source, that memory made without one is brought up to date of which the conversation has most turns unchanged, three quarters at
// least. ErrNoTurns if there are none.
func (m *Memory) Sync(ctx context.Context, turns []chunk.Turn, opts ...SyncOption) (name string, err error) {
	var o syncing
	for _, opt := range opts {
		opt(&o)
	}
	turns = conversation.WithoutAttachments(turns)
	name = conversation.Name(turns)
	if o.source != "" {
		path, err := filepath.Abs(o.source)
		if err != nil {
			return "", err
		}
		name = conversation.NameOf(path)
		_, err = m.Describe(ctx, name)
		if err == nil {
			return name, m.update(ctx, name, turns)
		}
		if !errors.Is(err, ErrNoMemory) {
			return "", err
		}
	}
	earlier, err := m.earlier(ctx, turns, o.source)
	switch {
	case err != nil:
		return "", err
	case earlier == "":
		_, err = m.Add(ctx, name, turns)
		return name, err
	case o.source == "":
		return earlier, m.update(ctx, earlier, turns)
	}
	// Another process may have been first, and have the memory forgotten or renamed.
	if err := m.store.Rename(ctx, earlier, name); err != nil && !errors.Is(err, store.ErrMemoryExists) && !errors.Is(err, ErrNoMemory) {
		return "", err
	}
	return name, m.update(ctx, name, turns)
}

// earlier returns the memory of an earlier edition of a conversation, "" if there is none.
func (m *Memory) earlier(ctx context.Context, turns []chunk.Turn, source string) (string, error) {
	editions, err := m.store.Editions(ctx, conversation.NamePrefix, turns)
	if err != nil {
		return "", err
	}
	if source == "" {
		if len(editions) > 0 && editions[0].Kept >= editionKept { // the first is the likest
			return editions[0].Name, nil
		}
		return "", nil
	}
	for _, e := range editions {
		if e.Kept < 1 {
			break
		}
		// Earlier versions knew no sources: what they made of the file is taken over if nothing of it is lost.
		if c, err := m.compare(ctx, e.Name, turns); err != nil || c.kept == c.held {
			return e.Name, err
		}
	}
	file, err := os.Stat(source)
	if err != nil { // a source need not be a file that is there
		return "", nil
	}
	editions, err = m.store.Editions(ctx, conversation.FilePrefix, turns)
	if err != nil {
		return "", err
	}
	for _, e := range editions {
		if e.Kept < editionKept {
			break
		}
		c, err := m.compare(ctx, e.Name, turns)
		if err != nil {
			return "", err
		}
		if c.known == len(turns) && c.kept < c.held && float64(c.kept) >= editionKept*float64(c.held) && file.ModTime().After(c.changed) {
			return e.Name, nil
		}
	}
	return "", nil
}

// compared says what a memory and a conversation have in common.
type compared struct {
	held, kept int       // turns of the memory, and those of them that the conversation has unchanged
	known      int       // turns of the memory whose ids the conversation has
	changed    time.Time // when the memory was last changed
}

// compare compares a memory with a conversation. It is as if the memory held nothing if another process has forgotten it meanwhile.
func (m *Memory) compare(ctx context.Context, name string, turns []chunk.Turn) (compared, error) {
	var c compared
	now := make(map[string]chunk.Turn, len(turns))
	for _, t := range turns {
		now[t.ID] = t
	}
	about, err := m.Describe(ctx, name)
	if errors.Is(err, ErrNoMemory) {
		return c, nil
	}
	if err != nil {
		return c, err
	}
	c.changed = about.Changed
	for old, err := range m.AllTurns(ctx, name) {
		if errors.Is(err, ErrNoMemory) {
			return compared{}, nil
		}
		if err != nil {
			return c, err
		}
		t, ok := now[old.ID]
		c.held++
		if ok {
			c.known++
		}
		if ok && t == old.Turn {
			c.kept++
		}
	}
	return c, nil
}

// update makes a memory hold exactly these turns. Another process may do the same at this moment: then what it has forgotten or added already is
// looked at again.
func (m *Memory) update(ctx context.Context, name string, turns []chunk.Turn) error {
	for tries := 1; ; tries++ {
		err := m.updateOnce(ctx, name, turns)
		if errors.Is(err, ErrNoMemory) { // the other one has forgotten all of it, to add it again
			_, err = m.Add(ctx, name, turns)
		}
		if tries < 10 && (errors.Is(err, ErrNoTurn) || errors.Is(err, ErrTurnExists)) {
			continue
		}
		return err
	}
}

func (m *Memory) updateOnce(ctx context.Context, name string, turns []chunk.Turn) error {
	now := make(map[string]bool, len(turns))
	for _, t := range turns {
		now[t.ID] = true
	}
	var gone []string
	var changed []chunk.Turn
	next, moved := 0, false // turns[next:] are not there yet
	for old, err := range m.AllTurns(ctx, name) {
		switch {
		case err != nil:
			return err
		case !moved && next < len(turns) && old.ID == turns[next].ID && old.Session == turns[next].Session:
			if old.Turn != turns[next] {
				changed = append(changed, turns[next])
			}
			next++
		default:
			gone = append(gone, old.ID)
			moved = moved || now[old.ID] // something came in before it: it is added again behind that
		}
	}
	if len(gone) > 0 {
		if _, err := m.ForgetTurns(ctx, name, gone...); err != nil {
			return err
		}
	}
	for _, t := range changed {
		if err := m.Edit(ctx, name, t); err != nil {
			return err
		}
	}
	if next == len(turns) {
		return nil
	}
	_, err := m.Add(ctx, name, turns[next:])
	return err
}
