package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	json2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/budgetmem/budgetmem/bmem/chunk"
)

// Memory is one named history as it is stored.
type Memory struct {
	Name   string
	Turns  []chunk.Turn
	Chunks []chunk.Chunk
}

// Cutter says how turns are cut into chunks; see chunk.Split.
type Cutter struct {
	Count     func(text string) int // tokens of a text
	MaxTokens int
}

// AddOptions are settings of one Append.
type AddOptions struct {
	Expires time.Time // when the turns expire; zero for never
	// KeepKnown leaves a turn as it is whose id is there, also if it says something else.
	KeepKnown bool
}

// Append adds turns at the end of the named memory, which is created if need be, and returns how many are new. Turns whose id
// is there already with the same content are skipped; the same id with another content is an ErrTurnExists, and nothing is
// added. The time it takes depends on the new turns only. It is one transaction: two processes that append at once both
// succeed, one after the other.
func (s *Store) Append(ctx context.Context, name string, turns []chunk.Turn, cut Cutter, o AddOptions) (added int, err error) {
	err = s.db.Change(ctx, Shared, func(tx Tx) error {
		id, err := find(tx, name)
		if errors.Is(err, ErrNoMemory) {
			id, err = create1(tx, name)
		}
		if err != nil {
			return err
		}
		w, err := newWriter(ctx, tx, id)
		if err != nil {
			return err
		}
		added, err = w.append(turns, cut, o)
		return errors.Join(err, w.close())
	})
	if err != nil {
		return 0, fmt.Errorf("append to memory %q: %w", name, err)
	}
	return added, nil
}

// create1 makes an empty memory. Its changes are counted from the time on, so that no reader takes it for one of the same name that was
// forgotten.
func create1(tx Tx, name string) (int64, error) {
	now := time.Now()
	// Another process may do the same at this moment.
	if err := tx.Exec("INSERT INTO memory (name, created, generation, rewritten) VALUES (?1, ?2, ?3, ?3) ON CONFLICT DO NOTHING", name, now.Unix(), now.UnixMicro()); err != nil {
		return 0, err
	}
	return find(tx, name)
}

// find returns the row id of the named memory, or ErrNoMemory.
func find(tx Tx, name string) (int64, error) {
	var id int64
	err := row(tx, []any{&id}, "SELECT id FROM memory WHERE name = ?", name)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, ErrNoMemory
	}
	return id, err
}

// stored is a chunk as it is kept, with the times at which its turns were added.
type stored struct {
	chunk.Chunk
	At    []int64 `json:"at"`
	Added []int64 `json:"added"`

	row  int64
	part int
}

// writer changes one memory inside a transaction.
type writer struct {
	ctx        context.Context
	tx         Tx
	memory     int64
	generation int64 // of this change
	next       int64 // position of the next turn
	turns      int   // change of the number of turns
	bytes      int   // change of the bytes of text
	rewritten  bool  // something else happened than turns being added at the end
	changed    bool
	parts      []string // parts of long turns that were removed
}

// newWriter returns a writer of a memory, which no other transaction writes until this one has ended.
func newWriter(ctx context.Context, tx Tx, memory int64) (*writer, error) {
	w := &writer{ctx: ctx, tx: tx, memory: memory}
	if err := tx.Lock(memory); err != nil {
		return nil, err
	}
	return w, row(tx, []any{&w.generation, &w.next}, "SELECT generation + 1, next FROM memory WHERE id = ?", memory)
}

func (w *writer) exec(query string, args ...any) error { return w.tx.Exec(query, args...) }

// row reads one row; sql.ErrNoRows if there is none.
func (w *writer) row(to []any, query string, args ...any) error { return row(w.tx, to, query, args...) }

// close writes what is kept of the memory as a whole.
func (w *writer) close() error {
	if !w.changed {
		return nil
	}
	err := w.exec("UPDATE memory SET generation = ?, next = ?, turns = turns + ?, bytes = bytes + ?, changed = ? WHERE id = ?",
		w.generation, w.next, w.turns, w.bytes, time.Now().Unix(), w.memory)
	if err == nil && w.rewritten {
		err = w.exec("UPDATE memory SET rewritten = generation WHERE id = ?", w.memory)
	}
	return err
}

// append adds the turns that are new.
func (w *writer) append(turns []chunk.Turn, cut Cutter, o AddOptions) (added int, err error) {
	now := time.Now()
	splitter := chunk.NewSplitter(cut.Count, cut.MaxTokens)
	var last *stored
	times := map[int64]int64{} // when each turn was added
	numbered := map[string]int{}
	known, err := w.known(turns)
	if err != nil {
		return 0, err
	}
	for i, t := range turns {
		if old, ok := known[t.ID]; ok && (o.KeepKnown || old == t) {
			continue
		} else if ok {
			return 0, fmt.Errorf("turn %d: id %q: %w; give it an id of its own, or edit that one", i+1, t.ID, ErrTurnExists)
		}
		if t.ID != "" {
			known[t.ID] = t
		}
		if added == 0 {
			if last, err = w.lastChunk(); err != nil {
				return 0, err
			}
			if last != nil {
				splitter.Resume(chunk.Placed{Chunk: last.Chunk, At: last.At})
				for i, at := range last.At {
					times[at] = last.Added[i]
				}
			}
		}
		if _, ok := numbered[t.Session]; !ok {
			if numbered[t.Session], err = w.chunksOf(t.Session); err != nil {
				return 0, err
			}
			splitter.Number(t.Session, numbered[t.Session])
		}
		at, err := w.insertTurn(Turn{Turn: t, Added: now, Expires: o.Expires})
		if err != nil {
			return 0, err
		}
		times[at] = now.Unix()
		if err := splitter.Add(w.ctx, t, at); err != nil {
			return 0, err
		}
		added++
	}
	if added == 0 {
		return 0, nil
	}
	return added, w.putCut(splitter.Cut(), last, times)
}

// known returns those turns of the memory that have an id of one of these turns, by id.
func (w *writer) known(turns []chunk.Turn) (map[string]chunk.Turn, error) {
	found := map[string]chunk.Turn{}
	for part := range slices.Chunk(turns, maxBound) {
		var ids []any
		for _, t := range part {
			if t.ID != "" {
				ids = append(ids, t.ID)
			}
		}
		if len(ids) == 0 {
			continue
		}
		in, args := inList([]any{w.memory}, ids)
		old, err := queryTurns(w.tx, "WHERE memory = ?1 AND id <> '' AND id"+in, args...)
		if err != nil {
			return nil, err
		}
		for _, t := range old {
			found[t.ID] = t.Turn.Turn
		}
	}
	return found, nil
}

// putCut writes the chunks that were cut, of which the first grew out of last if that is not nil.
func (w *writer) putCut(cut []chunk.Placed, last *stored, times map[int64]int64) error {
	first, part := int64(-1), 0
	for i, p := range cut {
		c := stored{Chunk: p.Chunk, At: p.At}
		for _, at := range p.At {
			c.Added = append(c.Added, times[at])
		}
		if part++; p.At[0] != first {
			first, part = p.At[0], 0
		}
		if i == 0 && last != nil {
			if part = last.part; len(last.Turns) == len(p.Turns) { // nothing was added to it
				continue
			}
			c.row = last.row
		} else if err := w.countChunk(c.Session); err != nil {
			return err
		}
		c.part = part
		if err := w.putChunk(c.row, c); err != nil {
			return err
		}
	}
	return nil
}

// insertTurn adds a turn at the end and returns its position.
func (w *writer) insertTurn(t Turn) (int64, error) {
	at := w.next
	w.next++
	w.turns++
	w.bytes += len(t.Text)
	w.changed = true
	err := w.exec("INSERT INTO turn (memory, pos, id, session, time, speaker, text, added, expires, sum) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		w.memory, at, t.ID, t.Session, t.Time, t.Speaker, t.Text, seconds(t.Added), expiry(t.Expires), turnSum(t.Turn))
	if err != nil {
		return 0, err
	}
	return at, w.exec("INSERT INTO session (memory, name, turns, chunks) VALUES (?, ?, 1, 0) ON CONFLICT (memory, name) DO UPDATE SET turns = session.turns + 1", w.memory, t.Session)
}

// countChunk counts a new chunk of a session.
func (w *writer) countChunk(session string) error {
	return w.exec("UPDATE session SET chunks = chunks + 1 WHERE memory = ? AND name = ?", w.memory, session)
}

// chunksOf is the highest number that a chunk of the session had.
func (w *writer) chunksOf(session string) (n int, err error) {
	err = w.row([]any{&n}, "SELECT chunks FROM session WHERE memory = ? AND name = ?", w.memory, session)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return n, err
}

// putChunk writes a chunk, over the one in the row if that is not 0.
func (w *writer) putChunk(row int64, c stored) error {
	w.changed = true
	body, err := json.Marshal(c)
	if err != nil {
		return err
	}
	if row != 0 {
		return w.exec("UPDATE chunk SET generation = ?, source = ?, body = ?, sum = ? WHERE id = ?", w.generation, sourceOf(c.Chunk), string(body), sumOf(string(body)), row)
	}
	return w.exec("INSERT INTO chunk (memory, first, part, generation, source, body, sum) VALUES (?, ?, ?, ?, ?, ?, ?)",
		w.memory, c.At[0], c.part, w.generation, sourceOf(c.Chunk), string(body), sumOf(string(body)))
}

func (w *writer) lastChunk() (*stored, error) {
	return w.chunk("SELECT id, part, body, sum FROM chunk WHERE memory = ? ORDER BY first DESC, part DESC LIMIT 1", w.memory)
}

// chunk reads one chunk, nil if there is none.
func (w *writer) chunk(query string, args ...any) (*stored, error) {
	var c stored
	var body sealedBody
	err := w.row([]any{&c.row, &c.part, &body.text, &body.sum}, query, args...)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	return &c, body.open(&c)
}

// Memory returns the named memory whole, or ErrNoMemory.
func (s *Store) Memory(ctx context.Context, name string) (Memory, error) {
	var m Memory
	err := s.db.View(ctx, func(tx Tx) error {
		m = Memory{Name: name}
		id, err := find(tx, name)
		if err != nil {
			return err
		}
		turns, err := queryTurns(tx, "WHERE memory = ? ORDER BY pos", id)
		if err != nil {
			return err
		}
		for _, t := range turns {
			m.Turns = append(m.Turns, t.Turn.Turn)
		}
		return each(tx, func(rows Rows) error {
			var source []byte
			var body sealedBody
			if err := rows.Scan(&source, &body.text, &body.sum); err != nil {
				return err
			}
			var c stored
			if err := body.open(&c); err != nil {
				return fmt.Errorf("chunk %d: %w", len(m.Chunks)+1, err)
			}
			if err := c.verify(source); err != nil {
				return err
			}
			m.Chunks = append(m.Chunks, c.Chunk)
			return nil
		}, "SELECT source, body, sum FROM chunk WHERE memory = ? ORDER BY first, part", id)
	})
	if err != nil {
		return Memory{}, fmt.Errorf("read memory %q: %w", name, err)
	}
	return m, nil
}

// Memories returns the names of all memories, sorted.
func (s *Store) Memories(ctx context.Context) (names []string, err error) {
	err = s.db.View(ctx, func(tx Tx) (err error) {
		names, err = column[string](tx, "SELECT name FROM memory ORDER BY name")
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list memories: %w", err)
	}
	return names, nil
}

// decode returns the JSON values that a query selects.
func decode[T any](tx Tx, query string, args ...any) ([]T, error) {
	bodies, err := column[string](tx, query, args...)
	if err != nil {
		return nil, err
	}
	values := make([]T, len(bodies))
	for i, body := range bodies {
		if err := unmarshal(body, &values[i]); err != nil {
			return nil, fmt.Errorf("record %d: %w", i, err)
		}
	}
	return values, nil
}

// lenient reads what earlier versions wrote by encoding/json, in a third of its time.
var lenient = json2.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))

func unmarshal(body string, to any) error {
	if err := json2.Unmarshal([]byte(body), to, lenient); err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return nil
}
