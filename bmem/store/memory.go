package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
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
}

// Append adds turns at the end of the named memory, which is created if need be, and returns how many are new. Turns whose id
// is there already with the same content are skipped; the same id with another content is an ErrTurnExists, and nothing is
// added. The time it takes depends on the new turns only. It is one transaction: two processes that append at once both
// succeed, one after the other.
func (s *Store) Append(ctx context.Context, name string, turns []chunk.Turn, cut Cutter, o AddOptions) (added int, err error) {
	err = s.change(ctx, func(ctx context.Context, tx *sql.Tx) error {
		id, err := find(ctx, tx, name)
		if errors.Is(err, ErrNoMemory) {
			id, err = create1(ctx, tx, name)
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

// create1 makes an empty memory.
func create1(ctx context.Context, tx *sql.Tx, name string) (int64, error) {
	result, err := tx.ExecContext(ctx, "INSERT INTO memory (name, created) VALUES (?, ?)", name, time.Now().Unix())
	if err != nil {
		return 0, err
	}
	return result.LastInsertId()
}

// find returns the row id of the named memory, or ErrNoMemory.
func find(ctx context.Context, q querier, name string) (int64, error) {
	var id int64
	err := q.QueryRowContext(ctx, "SELECT id FROM memory WHERE name = ?", name).Scan(&id)
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
	tx         *sql.Tx
	memory     int64
	generation int64 // of this change
	next       int64 // position of the next turn
	turns      int   // change of the number of turns
	bytes      int   // change of the bytes of text
	rewritten  bool  // something else happened than turns being added at the end
	changed    bool
	parts      []string // parts of long turns that were removed
	prepared   map[string]*sql.Stmt
}

func newWriter(ctx context.Context, tx *sql.Tx, memory int64) (*writer, error) {
	w := &writer{ctx: ctx, tx: tx, memory: memory, prepared: map[string]*sql.Stmt{}}
	err := tx.QueryRowContext(ctx, "SELECT generation + 1, next FROM memory WHERE id = ?", memory).Scan(&w.generation, &w.next)
	return w, err
}

// statement prepares a statement once.
func (w *writer) statement(query string) (*sql.Stmt, error) {
	if s := w.prepared[query]; s != nil {
		return s, nil
	}
	s, err := w.tx.PrepareContext(w.ctx, query)
	if err == nil {
		w.prepared[query] = s
	}
	return s, err
}

func (w *writer) exec(query string, args ...any) error {
	s, err := w.statement(query)
	if err != nil {
		return err
	}
	_, err = s.ExecContext(w.ctx, args...)
	return err
}

// row reads one row; sql.ErrNoRows if there is none.
func (w *writer) row(to []any, query string, args ...any) error {
	s, err := w.statement(query)
	if err != nil {
		return err
	}
	return s.QueryRowContext(w.ctx, args...).Scan(to...)
}

// close writes what is kept of the memory as a whole.
func (w *writer) close() error {
	defer func() {
		for _, s := range w.prepared {
			s.Close()
		}
	}()
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
	for i, t := range turns {
		known, err := w.turnOf(t.ID)
		switch {
		case err == nil && known.Turn.Turn == t:
			continue
		case err == nil:
			return 0, fmt.Errorf("turn %d: id %q: %w; give it an id of its own, or edit that one", i+1, t.ID, ErrTurnExists)
		case !errors.Is(err, ErrNoTurn):
			return 0, err
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
	return at, w.exec("INSERT INTO session (memory, name, turns, chunks) VALUES (?, ?, 1, 0) ON CONFLICT DO UPDATE SET turns = turns + 1", w.memory, t.Session)
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

// placedTurn is a turn with its position.
type placedTurn struct {
	Turn
	pos int64
}

// turnOf returns the turn of an id; ErrNoTurn if there is none, and for no id.
func (w *writer) turnOf(id string) (t placedTurn, err error) {
	if id == "" {
		return t, ErrNoTurn
	}
	s, err := w.statement("SELECT pos, " + turnColumns + " FROM turn WHERE memory = ? AND id = ? AND id <> ''")
	if err != nil {
		return t, err
	}
	t, err = scanTurn(s.QueryRowContext(w.ctx, w.memory, id))
	if errors.Is(err, sql.ErrNoRows) {
		err = fmt.Errorf("turn %q: %w", id, ErrNoTurn)
	}
	return t, err
}

const turnColumns = "id, session, time, speaker, text, added, expires, sum"

// scanTurn reads pos and the turnColumns of a row.
func scanTurn(row interface{ Scan(...any) error }) (placedTurn, error) {
	var t placedTurn
	var added int64
	var expires, sum sql.NullInt64
	err := row.Scan(&t.pos, &t.ID, &t.Session, &t.Time, &t.Speaker, &t.Text, &added, &expires, &sum)
	t.Added = fromSeconds(added)
	if expires.Valid {
		t.Expires = fromSeconds(expires.Int64)
	}
	if err == nil {
		err = fits(sum, turnSum(t.Turn.Turn), "turn %q", t.ID)
	}
	return t, err
}

// turnSum is the checksum of what a turn says, when, and by whom.
func turnSum(t chunk.Turn) int64 { return sumOf(t.ID, t.Session, t.Time, t.Speaker, t.Text) }

// Times are kept as Unix seconds, the zero time as 0, and no expiry as NULL.
func seconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

func fromSeconds(s int64) time.Time {
	if s == 0 {
		return time.Time{}
	}
	return time.Unix(s, 0).UTC()
}

func expiry(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.Unix()
}

// Memory returns the named memory whole, or ErrNoMemory.
func (s *Store) Memory(ctx context.Context, name string) (Memory, error) {
	m := Memory{Name: name}
	err := s.view(ctx, func(tx *sql.Tx) error {
		id, err := find(ctx, tx, name)
		if err != nil {
			return err
		}
		turns, err := queryTurns(ctx, tx, "WHERE memory = ? ORDER BY pos", id)
		if err != nil {
			return err
		}
		for _, t := range turns {
			m.Turns = append(m.Turns, t.Turn.Turn)
		}
		rows, err := tx.QueryContext(ctx, "SELECT source, body, sum FROM chunk WHERE memory = ? ORDER BY first, part", id)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
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
		}
		return rows.Err()
	})
	if err != nil {
		return Memory{}, fmt.Errorf("read memory %q: %w", name, err)
	}
	return m, nil
}

// queryTurns returns the turns that the rest of a query selects.
func queryTurns(ctx context.Context, q rowsQuerier, where string, args ...any) ([]placedTurn, error) {
	rows, err := q.QueryContext(ctx, "SELECT pos, "+turnColumns+" FROM turn "+where, args...)
	if err != nil {
		return nil, classify(err)
	}
	defer rows.Close()
	var turns []placedTurn
	for rows.Next() {
		t, err := scanTurn(rows)
		if err != nil {
			return nil, classify(err)
		}
		turns = append(turns, t)
	}
	return turns, classify(rows.Err())
}

// Memories returns the names of all memories, sorted.
func (s *Store) Memories(ctx context.Context) ([]string, error) {
	names, err := column[string](ctx, s.db, "SELECT name FROM memory ORDER BY name")
	if err != nil {
		return nil, fmt.Errorf("list memories: %w", err)
	}
	return names, nil
}

// view runs fn in a read transaction: all it reads is of one moment.
func (s *Store) view(ctx context.Context, fn func(*sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return classify(err)
	}
	defer tx.Rollback() // nothing was written; the error could only be that of a transaction already ended
	return classify(fn(tx))
}

// rowsQuerier is a database or a transaction.
type rowsQuerier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// column returns the one column that a query selects.
func column[T any](ctx context.Context, q rowsQuerier, query string, args ...any) ([]T, error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, classify(err)
	}
	defer rows.Close()
	var values []T
	for rows.Next() {
		var v T
		if err := rows.Scan(&v); err != nil {
			return nil, classify(err)
		}
		values = append(values, v)
	}
	return values, classify(rows.Err())
}

// decode returns the JSON values that a query selects.
func decode[T any](ctx context.Context, q rowsQuerier, query string, args ...any) ([]T, error) {
	bodies, err := column[string](ctx, q, query, args...)
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
