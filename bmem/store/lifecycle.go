package store

import (
	"context"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/budgetmem/budgetmem/bmem/chunk"
)

// Info describes a memory.
type Info struct {
	Name     string    `json:"name"`
	Turns    int       `json:"turns"`
	Sessions int       `json:"sessions"`
	Bytes    int64     `json:"bytes"`            // of text
	Created  time.Time `json:"created,omitzero"` // zero in stores of earlier versions
	Changed  time.Time `json:"changed,omitzero"`
	Expires  time.Time `json:"expires,omitzero"` // of all turns, if set for the whole memory
}

// Turn is a turn as it is stored.
type Turn struct {
	chunk.Turn
	Added   time.Time `json:"added,omitzero"`
	Expires time.Time `json:"expires,omitzero"`
}

// AddOptions are settings of one Append.
type AddOptions struct {
	Expires time.Time
}

// Pages of turns.
const (
	DefaultPage = 100
	MaxPage     = 1000
)

// TurnQuery says which turns to read.
type TurnQuery struct {
	Cursor  string // of the page before; "" begins at the start
	Limit   int    // at most so many turns (default DefaultPage, at most MaxPage)
	Session string // only of this session, if not ""
	Speaker string // only by this speaker, if not ""
}

// Selection says what to forget.
type Selection struct {
	Memory  string // "" is every memory, for a Speaker
	Turns   []string
	Session *string
	Speaker *string
	All     bool
}

// Forgotten says how much was forgotten.
type Forgotten struct {
	Turns    int `json:"turns"`
	Memories int `json:"memories"` // of which nothing is left
}

// List describes all memories, sorted by name.
func (s *Store) List(ctx context.Context) ([]Info, error) {
	names, err := s.Memories(ctx)
	if err != nil {
		return nil, err
	}
	infos := make([]Info, 0, len(names))
	for _, name := range names {
		info, err := s.Describe(ctx, name)
		if errors.Is(err, ErrNoMemory) {
			continue // forgotten meanwhile
		} else if err != nil {
			return nil, err
		}
		infos = append(infos, info)
	}
	return infos, nil
}

// Describe describes a memory.
func (s *Store) Describe(ctx context.Context, name string) (Info, error) {
	turns, err := s.turns(ctx, name)
	if err != nil {
		return Info{}, err
	}
	info := Info{Name: name, Turns: len(turns)}
	sessions := map[string]bool{}
	for _, t := range turns {
		sessions[t.Session] = true
		info.Bytes += int64(len(t.Text))
	}
	info.Sessions = len(sessions)
	return info, nil
}

func (s *Store) turns(ctx context.Context, name string) (turns []Turn, err error) {
	err = s.view(ctx, func(tx *sql.Tx) error {
		id, err := find(ctx, tx, name)
		if err != nil {
			return err
		}
		turns, err = decode[Turn](ctx, tx, "SELECT body FROM turn WHERE memory = ? ORDER BY pos", id)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("memory %q: %w", name, err)
	}
	return turns, nil
}

// Turns returns the turns that a query selects and the cursor of the next page.
func (s *Store) Turns(ctx context.Context, name string, q TurnQuery) (page []Turn, next string, err error) {
	start := 0
	if q.Cursor != "" {
		b, err := base64.RawURLEncoding.DecodeString(q.Cursor)
		if err == nil {
			start, err = strconv.Atoi(string(b))
		}
		if err != nil || start < 0 {
			return nil, "", fmt.Errorf("%w: %q", ErrCursor, q.Cursor)
		}
	}
	if q.Limit <= 0 {
		q.Limit = DefaultPage
	}
	turns, err := s.turns(ctx, name)
	if err != nil {
		return nil, "", err
	}
	for i := start; i < len(turns); i++ {
		if t := turns[i]; (q.Session == "" || t.Session == q.Session) && (q.Speaker == "" || t.Speaker == q.Speaker) {
			if len(page) == min(q.Limit, MaxPage) {
				return page, base64.RawURLEncoding.EncodeToString([]byte(strconv.Itoa(i))), nil
			}
			page = append(page, t)
		}
	}
	return page, "", nil
}

// Turn returns one turn.
func (s *Store) Turn(ctx context.Context, name, id string) (Turn, error) {
	turns, err := s.turns(ctx, name)
	if err != nil {
		return Turn{}, err
	}
	i := slices.IndexFunc(turns, func(t Turn) bool { return t.ID == id })
	if i < 0 {
		return Turn{}, fmt.Errorf("turn %q of memory %q: %w", id, name, ErrNoTurn)
	}
	return turns[i], nil
}

// Edit replaces a turn.
func (s *Store) Edit(ctx context.Context, name string, turn chunk.Turn, split SplitFunc) error {
	return fmt.Errorf("edit turn %q of memory %q: %w", turn.ID, name, errors.ErrUnsupported)
}

// Forget removes what is selected.
func (s *Store) Forget(ctx context.Context, what Selection) (Forgotten, error) {
	return Forgotten{}, fmt.Errorf("forget: %w", errors.ErrUnsupported)
}

// ForgetExpired removes what has expired.
func (s *Store) ForgetExpired(ctx context.Context, now time.Time) (Forgotten, error) {
	return Forgotten{}, nil
}

// SetExpiry sets when turns expire.
func (s *Store) SetExpiry(ctx context.Context, name string, at time.Time, ids []string) error {
	return fmt.Errorf("set when memory %q expires: %w", name, errors.ErrUnsupported)
}
