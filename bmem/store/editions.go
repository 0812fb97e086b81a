package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/budgetmem/budgetmem/bmem/chunk"
)

// editionSample is how many turns of a conversation are compared.
const editionSample = 32

// Editions returns the memories whose names begin with a prefix and which share at least half of the turns, as far as a sample
// tells, the most similar first.
func (s *Store) Editions(ctx context.Context, prefix string, turns []chunk.Turn) ([]string, error) {
	type edition struct {
		name   string
		shared int
	}
	var found []edition
	step := max(1, len(turns)/editionSample)
	err := s.view(ctx, func(tx *sql.Tx) error {
		names, err := column[string](ctx, tx, "SELECT name FROM memory WHERE substr(name, 1, ?) = ?", len(prefix), prefix)
		if err != nil {
			return err
		}
		for _, name := range names {
			w, err := reader(ctx, tx, name)
			if err != nil {
				return err
			}
			e, looked := edition{name: name}, 0
			for i := 0; i < len(turns); i += step {
				t, err := w.turnOf(turns[i].ID)
				if err != nil && !errors.Is(err, ErrNoTurn) {
					return errors.Join(err, w.close())
				}
				if looked++; err == nil && t.Turn.Turn == turns[i] {
					e.shared++
				}
			}
			if err := w.close(); err != nil {
				return err
			}
			if 2*e.shared >= looked && e.shared > 0 {
				found = append(found, e)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("find earlier editions: %w", err)
	}
	slices.SortFunc(found, func(a, b edition) int {
		return cmp.Or(cmp.Compare(b.shared, a.shared), strings.Compare(a.name, b.name))
	})
	out := make([]string, len(found))
	for i, e := range found {
		out[i] = e.name
	}
	return out, nil
}
