package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/budgetmem/budgetmem/bmem/chunk"
)

// Edit replaces speaker, time and text of a turn; the old text is forgotten. The chunks that it stands in are cut again by
// themselves.
func (s *Store) Edit(ctx context.Context, name string, turn chunk.Turn, cut Cutter) error {
	err := s.db.Change(ctx, Exclusive, func(tx Tx) error {
		w, err := writerOf(ctx, tx, name)
		if err != nil {
			return err
		}
		return errors.Join(w.edit(turn, cut), w.close())
	})
	if err != nil {
		return fmt.Errorf("edit turn %q of memory %q: %w", turn.ID, name, err)
	}
	return s.scrub(ctx)
}

func (w *writer) edit(turn chunk.Turn, cut Cutter) error {
	old, err := w.turnOf(turn.ID)
	if err != nil {
		return err
	}
	if turn.Session == "" {
		turn.Session = old.Session
	}
	if turn.Session != old.Session {
		return fmt.Errorf("%w: it is of session %q, not %q; forget it and add it there", ErrSession, old.Session, turn.Session)
	}
	if turn == old.Turn.Turn {
		return nil
	}
	w.rewritten, w.changed = true, true
	w.bytes += len(turn.Text) - len(old.Text)
	if err := w.exec("UPDATE turn SET time = ?, speaker = ?, text = ?, sum = ? WHERE memory = ? AND pos = ?", turn.Time, turn.Speaker, turn.Text, turnSum(turn), w.memory, old.pos); err != nil {
		return err
	}
	chunks, err := w.chunksWith(old.pos)
	if err != nil {
		return err
	}
	if err := w.cutAgain(chunks, old.pos, turn, cut); err != nil {
		return err
	}
	return w.forgetDerived([]placedTurn{old})
}

// cutAgain cuts chunks that stand side by side again, with another turn at a position.
func (w *writer) cutAgain(chunks []stored, pos int64, turn chunk.Turn, cut Cutter) error {
	splitter := chunk.NewSplitter(cut.Count, cut.MaxTokens)
	times, replaced := map[int64]int64{}, false
	for _, c := range chunks {
		if err := w.unembed(c, func(i int) bool { return c.At[i] != pos }); err != nil {
			return err
		}
		if err := errors.Join(w.exec("DELETE FROM pool WHERE source = ?", sourceOf(c.Chunk)), w.exec("DELETE FROM chunk WHERE id = ?", c.row)); err != nil {
			return err
		}
		for i, t := range c.Turns {
			times[c.At[i]] = c.Added[i]
			if c.At[i] == pos {
				w.parts = append(w.parts, t.Text)
				if replaced {
					continue // a further part of the old text
				}
				t, replaced = turn, true
			}
			if err := splitter.Add(w.ctx, t, c.At[i]); err != nil {
				return err
			}
		}
	}
	// The first chunk keeps its place, also if it begins with the rest of a long turn; the old names are used up first.
	first, part := int64(-1), 0
	for i, p := range splitter.Cut() {
		c := stored{Chunk: p.Chunk, At: p.At}
		for _, at := range p.At {
			c.Added = append(c.Added, times[at])
		}
		part++
		switch {
		case i == 0:
			part = chunks[0].part
		case p.At[0] != first:
			part = 0
		}
		first, c.part = p.At[0], part
		if i < len(chunks) {
			c.ID = chunks[i].ID
		} else {
			if err := w.countChunk(c.Session); err != nil {
				return err
			}
			n, err := w.chunksOf(c.Session)
			if err != nil {
				return err
			}
			c.ID = chunk.Name(c.Session, n)
		}
		if err := w.putChunk(0, c); err != nil {
			return err
		}
	}
	return nil
}
