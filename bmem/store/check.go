package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Check reads the whole store and returns ErrCorrupt, with what was found, if anything in it is damaged. Of each memory it says the first damage.
func (s *Store) Check(ctx context.Context) error {
	if err := s.check(ctx); err != nil {
		return fmt.Errorf("check memory store %s: %w", s.db, err)
	}
	return nil
}

func (s *Store) check(ctx context.Context) error {
	if err := s.db.Verify(ctx); err != nil {
		return err
	}
	var names []string
	err := s.db.View(ctx, func(tx Tx) error {
		pools, err := column[string](tx, "SELECT facts FROM pool")
		for _, text := range pools {
			var facts []string
			err = errors.Join(err, readFacts(text, &facts))
		}
		if err != nil {
			return err
		}
		if err := checkVectors(tx); err != nil {
			return err
		}
		names, err = column[string](tx, "SELECT name FROM memory ORDER BY id")
		return err
	})
	if err != nil {
		return err
	}
	var damaged []error
	for _, name := range names {
		m, err := s.Memory(ctx, name)
		if err == nil {
			err = m.check()
		}
		switch {
		case errors.Is(err, ErrCorrupt):
			damaged = append(damaged, err)
		case err != nil && !errors.Is(err, ErrNoMemory): // forgotten meanwhile
			return err
		}
	}
	return errors.Join(damaged...)
}

// verify compares a chunk with the source that was stored beside it, which is the checksum of what it says. Text that was no
// UTF-8 when it was stored has no source to compare with.
func (st stored) verify(source []byte) error {
	if bytes.Equal(sourceOf(st.Chunk), source) {
		return nil
	}
	for _, t := range st.Turns {
		if strings.ContainsRune(t.Text+t.ID+t.Speaker, utf8.RuneError) {
			return nil
		}
	}
	return fmt.Errorf("%w: the checksum of chunk %s is wrong", ErrCorrupt, st.ID)
}

// asJSON returns a string as it comes back from JSON: a byte that is no UTF-8 has become U+FFFD.
func asJSON(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return string([]rune(s))
}

// check compares the turns of a memory with what its chunks hold of them.
func (m Memory) check() error {
	type who struct{ id, session, speaker string } // turns may have no id
	said := map[who][]string{}
	for _, t := range m.Turns {
		k := who{asJSON(t.ID), asJSON(t.Session), asJSON(t.Speaker)}
		said[k] = append(said[k], asJSON(t.Text))
	}
	for _, c := range m.Chunks {
		for _, part := range c.Turns {
			if !slices.ContainsFunc(said[who{part.ID, c.Session, part.Speaker}], func(text string) bool { return strings.Contains(text, part.Text) }) {
				return fmt.Errorf("memory %q: %w: turn %q is not as it was stored", m.Name, ErrCorrupt, part.ID)
			}
		}
	}
	return nil
}
