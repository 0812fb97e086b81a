package bmem

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/bmem/conversation"
	"github.com/budgetmem/budgetmem/bmem/retrieve"
	"github.com/budgetmem/budgetmem/bmem/store"
)

// Archive is the part of a Memory that needs no models: it lists, reads and forgets. A Memory is an Archive too. Several processes may use one store at the same time. It is safe for concurrent use.
type Archive struct {
	store *store.Store
}

// OpenArchive opens the memories in a file without any model, to list, read and forget. The caller closes it.
// replies, which may be nil, are what models answered: those that were made from what is forgotten go with it.
//
// Errors: store.ErrNotStore, store.ErrNewer, store.ErrCorrupt.
func OpenArchive(ctx context.Context, path string, replies Replies) (*Archive, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s, err := store.Open(path)
	if err != nil {
		return nil, err
	}
	return NewArchive(ctx, s, replies)
}

// NewArchive is OpenArchive with the memories in a store. The Archive closes it, also if NewArchive fails.
func NewArchive(ctx context.Context, s *store.Store, replies Replies) (*Archive, error) {
	if replies != nil {
		if err := s.ForgetIn(ctx, replies); err != nil {
			return nil, errors.Join(fmt.Errorf("open memory %s: %w", s, err), s.Close())
		}
	}
	return &Archive{store: s}, nil
}

// Replies are the kept replies of models; an llm.Cache is one.
type Replies = store.Replies

// Close closes the store. Calls still under way fail. An error says that the file could not be closed.
func (a *Archive) Close() error { return a.store.Close() }

// MemoryInfo describes a memory.
type MemoryInfo = store.Info

// StoredTurn is a turn with when it was added and when it expires.
type StoredTurn = store.Turn

// Memories describes all memories, sorted by name. It fails only if the store cannot be read.
func (a *Archive) Memories(ctx context.Context) ([]MemoryInfo, error) { return a.store.List(ctx) }

// Describe describes one memory; ErrNoMemory if there is none of that name.
func (a *Archive) Describe(ctx context.Context, memory string) (MemoryInfo, error) {
	return a.store.Describe(ctx, memory)
}

// TurnQuery says which turns of a memory to read.
type TurnQuery = store.TurnQuery

// TurnPage is a part of a memory's turns, in their order.
type TurnPage struct {
	Turns []StoredTurn `json:"turns"`
	// Next is the Cursor of the page after this one; "" if this is the last.
	Next string `json:"next,omitempty"`
}

// Turns returns a page of a memory's turns. ErrNoMemory if there is no such memory; ErrCursor if the cursor is none of a
// TurnPage.
func (a *Archive) Turns(ctx context.Context, memory string, q TurnQuery) (TurnPage, error) {
	turns, next, err := a.store.Turns(ctx, memory, q)
	return TurnPage{turns, next}, err
}

// AllTurns reads all turns of a memory page by page, so that a long one needs little memory. After an error it ends.
func (a *Archive) AllTurns(ctx context.Context, memory string) iter.Seq2[StoredTurn, error] {
	return func(yield func(StoredTurn, error) bool) {
		for q := (TurnQuery{Limit: store.MaxPage}); ; {
			page, err := a.Turns(ctx, memory, q)
			if err != nil {
				yield(StoredTurn{}, err)
				return
			}
			for _, t := range page.Turns {
				if !yield(t, nil) {
					return
				}
			}
			if q.Cursor = page.Next; q.Cursor == "" {
				return
			}
		}
	}
}

// Turn returns one turn. ErrNoMemory or ErrNoTurn if it is not there.
func (a *Archive) Turn(ctx context.Context, memory, id string) (StoredTurn, error) {
	return a.store.Turn(ctx, memory, id)
}

// Forgotten says how much was forgotten.
type Forgotten = store.Forgotten

// ForgetTurns forgets the turns of these ids. ErrNoTurn if one is not there, and then nothing is forgotten.
//
// What is forgotten, here and by the other functions, is gone from the file when they return: the text, what it is found by,
// its vectors, what was extracted from it, and the pages that it stood on. A kill forgets all of it or nothing. Of a PostgreSQL server it
// is gone from the tables; see package postgres.
func (a *Archive) ForgetTurns(ctx context.Context, memory string, ids ...string) (Forgotten, error) {
	return a.store.Forget(ctx, store.Selection{Memory: memory, Turns: ids})
}

// ForgetSession forgets the turns of a session. ErrNoTurn if it has none.
func (a *Archive) ForgetSession(ctx context.Context, memory, session string) (Forgotten, error) {
	return a.store.Forget(ctx, store.Selection{Memory: memory, Session: &session})
}

// ForgetSpeaker forgets everything that a speaker said in a memory, or in all memories if memory is "". ErrNoTurn if that is
// nothing. What others said about the speaker stays.
func (a *Archive) ForgetSpeaker(ctx context.Context, memory, speaker string) (Forgotten, error) {
	return a.store.Forget(ctx, store.Selection{Memory: memory, Speaker: &speaker})
}

// ForgetMemory forgets a memory with all its turns. ErrNoMemory if there is none of that name.
func (a *Archive) ForgetMemory(ctx context.Context, memory string) (Forgotten, error) {
	return a.store.Forget(ctx, store.Selection{Memory: memory, All: true})
}

// ForgetExpired forgets the turns, of all memories, whose time to expire has come. Questions and additions do that for their
// own memory; a server calls this now and then for those that nobody asks. store.ErrReadOnly
// if the file cannot be written.
func (a *Archive) ForgetExpired(ctx context.Context) (Forgotten, error) {
	return a.store.ForgetExpired(ctx, time.Now())
}

// SetExpiry sets when turns expire, or without ids when the whole memory does, turns added later included. The zero time means
// never. ErrNoMemory or ErrNoTurn if something is not there, and then nothing is changed.
func (a *Archive) SetExpiry(ctx context.Context, memory string, at time.Time, ids ...string) error {
	return a.store.SetExpiry(ctx, memory, at, ids)
}

// Check reads the whole store; store.ErrCorrupt, with what is damaged.
func (a *Archive) Check(ctx context.Context) error { return a.store.Check(ctx) }

// ParseExpiry reads when something expires: a time in RFC 3339 ("2026-03-01T00:00:00Z"), a day ("2026-03-01"), or how long it
// is kept from now on: a duration of Go ("36h"), days ("30d") or weeks ("2w"). "never" is the zero time.
// Anything else is an error.
func ParseExpiry(s string, now time.Time) (time.Time, error) {
	s = strings.TrimSpace(s)
	if s == "never" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			if t.IsZero() {
				t = t.Add(time.Second) // the zero time is never
			}
			return t, nil
		}
	}
	for unit, days := range map[string]float64{"d": 1, "w": 7} {
		if number, ok := strings.CutSuffix(s, unit); ok {
			if n, err := strconv.ParseFloat(number, 64); err == nil && n > 0 && n < 1e5 {
				return now.Add(time.Duration(n * days * float64(24*time.Hour))), nil
			}
		}
	}
	if d, err := time.ParseDuration(s); err == nil && d > 0 {
		return now.Add(d), nil
	}
	return time.Time{}, fmt.Errorf("expiry %q: want a time such as 2026-03-01T00:00:00Z, a day such as 2026-03-01, how long such as 36h, 30d or 2w, or never", s)
}

// Edit replaces the turn of the same id: speaker, time and text become those of turn, and the old text is gone as if it was
// forgotten. The session must be the same, or "" for that. ErrNoMemory or ErrNoTurn if it is not there, ErrNoTurns if the new
// text is empty.
func (m *Memory) Edit(ctx context.Context, memory string, turn chunk.Turn) error {
	if strings.TrimSpace(turn.Text) == "" {
		return fmt.Errorf("edit turn %q of memory %q: %w: the new text is empty; to remove the turn, forget it", turn.ID, memory, ErrNoTurns)
	}
	if err := m.store.Edit(ctx, memory, conversation.WithoutAttachments([]chunk.Turn{turn})[0], m.cutter()); err != nil {
		return err
	}
	return m.embedNew(ctx, memory)
}

// Added says what an Add did, in numbers of turns.
type Added struct {
	New     int `json:"new"`
	Skipped int `json:"skipped"` // were there already
}

// AddOption changes one Add.
type AddOption func(*store.AddOptions)

// WithExpiry lets the added turns expire at a time.
func WithExpiry(at time.Time) AddOption { return func(o *store.AddOptions) { o.Expires = at } }

// WithKnownKept leaves turns as they are whose ids are there, also if they say something else, as after an Edit. Without it that is an
// ErrTurnExists.
func WithKnownKept() AddOption { return func(o *store.AddOptions) { o.KeepKnown = true } }

// SearchHit is a turn that was found.
type SearchHit struct {
	chunk.Turn
	// Chunk is the id of the chunk that the turn stands in.
	Chunk string `json:"chunk"`
	// Score is the probability in [0, 1] that the turn is evidence, or in modes that rank chunks only the chunk's score.
	Score float64 `json:"score"`
}

// DefaultSearchTurns is how many turns Search returns unless WithTopK says otherwise.
const DefaultSearchTurns = 10

// Search returns the turns of a memory that fit a query best, best first, without calling a model but the embedder. It takes
// the options of Ask that concern retrieval: WithMemory, WithTopK (which counts turns here), WithRetrieval, WithBefore and
// WithAfter.
//
// Errors: ErrNoQuestion for an empty query, ErrNoMemory.
func (m *Memory) Search(ctx context.Context, query string, opts ...Option) ([]SearchHit, error) {
	a, err := m.ask(query, append([]Option{WithTopK(DefaultSearchTurns)}, opts...))
	if err != nil {
		return nil, err
	}
	hits, err := m.hits(ctx, a)
	var step *StepError
	if errors.As(err, &step) {
		err = step.Err
	}
	if err != nil {
		return nil, err
	}
	return bestTurns(hits, a.topK), nil
}

// bestTurns returns the k best turns of chunks; a turn in several chunks counts by its best part.
func bestTurns(hits []retrieve.Hit, k int) []SearchHit {
	var found []SearchHit
	at := map[string]int{}
	for _, h := range hits {
		for i, t := range h.Turns {
			score := h.Score
			if h.TurnScores != nil {
				score = h.TurnScores[i]
			}
			if j, ok := at[t.ID]; !ok {
				at[t.ID] = len(found)
				found = append(found, SearchHit{t, h.ID, score})
			} else if score > found[j].Score {
				found[j] = SearchHit{t, h.ID, score}
			}
		}
	}
	slices.SortStableFunc(found, func(a, b SearchHit) int { return cmp.Compare(b.Score, a.Score) })
	return found[:min(k, len(found))]
}
