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

// Check reads the whole file and returns ErrCorrupt, with what was found, if anything in it is damaged.
func (s *Store) Check(ctx context.Context) error {
	rows, err := s.db.QueryContext(ctx, "PRAGMA integrity_check(5)")
	if err != nil {
		return fmt.Errorf("check memory store %s: %w", s.path, classify(err))
	}
	defer rows.Close()
	var faults []string
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			return fmt.Errorf("check memory store %s: %w", s.path, classify(err))
		}
		if line != "ok" {
			faults = append(faults, line)
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("check memory store %s: %w", s.path, classify(err))
	}
	if len(faults) > 0 {
		return fmt.Errorf("check memory store %s: %w: %s", s.path, ErrCorrupt, strings.Join(faults, "; "))
	}
	pools, err := column[string](ctx, s.db, "SELECT facts FROM pool")
	for _, text := range pools {
		var facts []string
		err = errors.Join(err, readFacts(text, &facts))
	}
	if err != nil {
		return fmt.Errorf("check memory store %s: %w", s.path, err)
	}
	if err := s.checkVectors(ctx); err != nil {
		return fmt.Errorf("check memory store %s: %w", s.path, err)
	}
	names, err := column[string](ctx, s.db, "SELECT name FROM memory ORDER BY id")
	if err != nil {
		return fmt.Errorf("check memory store %s: %w", s.path, err)
	}
	for _, name := range names {
		m, err := s.Memory(ctx, name)
		if err == nil {
			err = m.check()
		}
		if err != nil && !errors.Is(err, ErrNoMemory) { // forgotten meanwhile
			return fmt.Errorf("check memory store %s: %w", s.path, err)
		}
	}
	return nil
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

// check compares the turns of a memory with what its chunks hold of them.
func (m Memory) check() error {
	type who struct{ id, session, speaker string } // turns may have no id
	said := map[who][]string{}
	for _, t := range m.Turns {
		k := who{t.ID, t.Session, t.Speaker}
		said[k] = append(said[k], t.Text)
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
