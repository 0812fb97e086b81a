package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/budgetmem/budgetmem/bmem/chunk"
)

// Selection says what to forget.
type Selection struct {
	Memory  string   // "" is every memory, for a Speaker
	Turns   []string // ids
	Session *string
	Speaker *string
	All     bool // the memory with all its turns
}

// Forgotten says how much was forgotten.
type Forgotten struct {
	Turns    int `json:"turns"`
	Memories int `json:"memories"` // memories that are gone
}

// Forget removes what is selected: turns, what they are found by, their vectors and facts, and the replies that were made
// from them, if the store knows where these are. When it returns, the files hold no byte of the text. A kill before it returns
// has removed all of it or nothing; what is left to do on the pages is done when the store is opened next. A memory of which
// nothing is left is gone too. The chunks keep their places and names, so that what stays is found as before.
//
// Errors: ErrNoMemory, ErrNoTurn if nothing is selected or one of the ids is not there.
func (s *Store) Forget(ctx context.Context, what Selection) (Forgotten, error) {
	var sum Forgotten
	err := s.db.Change(ctx, Exclusive, func(tx Tx) error {
		sum = Forgotten{}
		names := []string{what.Memory}
		if what.Memory == "" && what.Speaker != nil {
			var err error
			if names, err = column[string](tx, "SELECT name FROM memory ORDER BY id"); err != nil {
				return err
			}
		}
		for _, name := range names {
			w, err := writerOf(ctx, tx, name)
			if err != nil {
				return err
			}
			turns, err := w.selected(what)
			if err != nil {
				return err
			}
			if err := w.forgetTurns(turns, what.All, &sum); err != nil {
				return err
			}
		}
		if sum == (Forgotten{}) {
			return ErrNoTurn
		}
		return nil
	})
	if err != nil {
		return Forgotten{}, fmt.Errorf("forget from memory %q: %w", what.Memory, err)
	}
	return sum, s.scrub(ctx)
}

// selected returns the turns of the memory that are to be forgotten.
func (w *writer) selected(what Selection) ([]placedTurn, error) {
	switch {
	case what.All:
		return allTurns(w.tx, w.memory)
	case what.Session != nil:
		return queryTurns(w.tx, "WHERE memory = ? AND session = ? ORDER BY pos", w.memory, *what.Session)
	case what.Speaker != nil:
		return queryTurns(w.tx, "WHERE memory = ? AND speaker = ? ORDER BY pos", w.memory, *what.Speaker)
	}
	var turns []placedTurn
	for _, id := range what.Turns {
		t, err := w.turnOf(id)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(turns, func(u placedTurn) bool { return u.pos == t.pos }) {
			turns = append(turns, t)
		}
	}
	return turns, nil
}

// ForgetExpired removes the turns and memories whose time has come.
func (s *Store) ForgetExpired(ctx context.Context, now time.Time) (Forgotten, error) {
	var sum Forgotten
	var due bool
	var last int64
	err := s.db.View(ctx, func(tx Tx) error {
		return row(tx, []any{&due, &last}, `SELECT EXISTS (SELECT 1 FROM turn WHERE expires <= ?1) OR EXISTS (SELECT 1 FROM memory WHERE expires <= ?1),
			coalesce((SELECT max(id) FROM forgotten), 0)`, now.Unix())
	})
	if err == nil {
		err = s.forgetWithOthers(ctx, last, now)
	}
	if err != nil || !due {
		return sum, err
	}
	err = s.db.Change(ctx, Exclusive, func(tx Tx) error {
		sum = Forgotten{}
		ids, err := column[int64](tx, "SELECT id FROM memory WHERE expires <= ?1 OR id IN (SELECT memory FROM turn WHERE expires <= ?1)", now.Unix())
		if err != nil {
			return err
		}
		for _, id := range ids {
			var all bool
			if err := row(tx, []any{&all}, "SELECT expires IS NOT NULL AND expires <= ? FROM memory WHERE id = ?", now.Unix(), id); err != nil {
				return err
			}
			turns, err := dueTurns(tx, id, all, now)
			if err != nil {
				return err
			}
			w, err := newWriter(ctx, tx, id)
			if err != nil {
				return err
			}
			if err := w.forgetTurns(turns, all, &sum); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return Forgotten{}, fmt.Errorf("forget what has expired: %w", err)
	}
	return sum, s.scrub(ctx)
}

// dueTurns returns the turns of a memory that have expired, or all.
func dueTurns(tx Tx, memory int64, all bool, now time.Time) ([]placedTurn, error) {
	if all {
		return allTurns(tx, memory)
	}
	return queryTurns(tx, "WHERE memory = ? AND expires <= ? ORDER BY pos", memory, now.Unix())
}

// forgetTurns removes turns, and the memory if nothing of it is left or all is wanted gone. It closes the writer.
func (w *writer) forgetTurns(turns []placedTurn, all bool, sum *Forgotten) error {
	if len(turns) == 0 && !all {
		return w.close()
	}
	gone := map[int64]bool{}
	for _, t := range turns {
		gone[t.pos] = true
		if err := w.deleteTurn(t); err != nil {
			return err
		}
	}
	w.rewritten, w.changed = true, true
	var err error
	if all {
		err = w.dropChunks()
	} else {
		err = w.cutOut(gone)
	}
	if err != nil {
		return err
	}
	// A session's name may say something too.
	if err := w.exec("DELETE FROM session WHERE memory = ? AND turns <= 0", w.memory); err != nil {
		return err
	}
	if err := w.forgetDerived(turns); err != nil {
		return err
	}
	if err := w.close(); err != nil {
		return err
	}
	sum.Turns += len(turns)
	var left int
	if err := w.row([]any{&left}, "SELECT turns FROM memory WHERE id = ?", w.memory); err != nil {
		return err
	}
	if left > 0 {
		return nil
	}
	sum.Memories++
	for _, query := range []string{"DELETE FROM session WHERE memory = ?", "DELETE FROM progress WHERE memory = ?", "DELETE FROM memory WHERE id = ?"} {
		if err := w.exec(query, w.memory); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) deleteTurn(t placedTurn) error {
	w.turns--
	w.bytes -= len(t.Text)
	return errors.Join(
		w.exec("DELETE FROM turn WHERE memory = ? AND pos = ?", w.memory, t.pos),
		w.exec("UPDATE session SET turns = turns - 1 WHERE memory = ? AND name = ?", w.memory, t.Session))
}

// dropChunks removes all chunks of the memory. A damaged one goes with what can be read of it.
func (w *writer) dropChunks() error {
	rows, err := column[int64](w.tx, "SELECT id FROM chunk WHERE memory = ?", w.memory)
	if err != nil {
		return err
	}
	for _, id := range rows {
		c, err := w.chunk("SELECT id, part, body, sum FROM chunk WHERE id = ?", id)
		switch {
		case errors.Is(err, ErrCorrupt):
			err = errors.Join(w.exec("DELETE FROM embedded WHERE chunk = ?", id), w.exec("DELETE FROM text WHERE chunk = ?", id))
		case err == nil && c != nil:
			for _, t := range c.Turns {
				w.parts = append(w.parts, t.Text)
			}
			err = errors.Join(w.unembed(*c, func(int) bool { return false }), w.exec("DELETE FROM pool WHERE source = ?", sourceOf(c.Chunk)))
		}
		if err = errors.Join(err, w.exec("DELETE FROM chunk WHERE id = ?", id)); err != nil {
			return err
		}
	}
	return nil
}

// cutOut takes turns out of the chunks that they stand in. A chunk of which nothing is left goes.
func (w *writer) cutOut(gone map[int64]bool) error {
	seen := map[int64]bool{}
	for pos := range gone {
		chunks, err := w.chunksWith(pos)
		if err != nil {
			return err
		}
		for _, c := range chunks {
			if seen[c.row] {
				continue
			}
			seen[c.row] = true
			if err := w.unembed(c, func(i int) bool { return !gone[c.At[i]] }); err != nil {
				return err
			}
			if err := w.exec("DELETE FROM pool WHERE source = ?", sourceOf(c.Chunk)); err != nil {
				return err
			}
			left := stored{row: c.row, part: c.part, Chunk: c.Chunk}
			left.Turns = nil
			bytes, kept := 1, 0
			for i, t := range c.Turns {
				bytes += len(t.Text)
				if gone[c.At[i]] {
					w.parts = append(w.parts, t.Text)
				} else {
					kept += len(t.Text)
					left.Turns, left.At, left.Added = append(left.Turns, t), append(left.At, c.At[i]), append(left.Added, c.Added[i])
				}
			}
			left.Tokens = left.Tokens * kept / bytes // there may be no tokenizer here; nothing is cut by this number
			if len(left.Turns) == 0 {
				err = w.exec("DELETE FROM chunk WHERE id = ?", c.row)
			} else {
				left.Time = left.Turns[0].Time
				err = w.putChunk(c.row, left)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// chunksWith returns the chunks that hold the turn at a position or a part of it, in order: those that begin with it, and the
// one before these.
func (w *writer) chunksWith(pos int64) ([]stored, error) {
	var chunks []stored
	before, err := w.chunk("SELECT id, part, body, sum FROM chunk WHERE memory = ? AND first < ? ORDER BY first DESC, part DESC LIMIT 1", w.memory, pos)
	if err != nil {
		return nil, err
	}
	if before != nil && slices.Contains(before.At, pos) {
		chunks = append(chunks, *before)
	}
	err = each(w.tx, func(rows Rows) error {
		var c stored
		var body sealedBody
		if err := rows.Scan(&c.row, &c.part, &body.text, &body.sum); err != nil {
			return err
		}
		if err := body.open(&c); err != nil {
			return err
		}
		chunks = append(chunks, c)
		return nil
	}, "SELECT id, part, body, sum FROM chunk WHERE memory = ? AND first = ? ORDER BY part", w.memory, pos)
	return chunks, err
}

// unembed removes the vectors of a chunk that changes. Those of the turns to keep wait under their texts' hashes for the chunk
// to be embedded again.
func (w *writer) unembed(c stored, keep func(i int) bool) error {
	type packed struct {
		embedder string
		vectors  []float32
	}
	var all []packed
	err := each(w.tx, func(rows Rows) error {
		var name string
		var vectors Vectors
		var sum sql.NullInt64
		if err := rows.Scan(&name, &vectors, &sum); err != nil {
			return err
		}
		if fits(sum, vectors.sum, "vectors") == nil { // others are embedded again
			all = append(all, packed{name, vectors.Numbers})
		}
		return nil
	}, "SELECT name, vectors, sum FROM embedded JOIN embedder ON embedder.id = embedded.embedder WHERE chunk = ?", c.row)
	if err != nil {
		return err
	}
	names, err := column[string](w.tx, "SELECT name FROM embedder UNION SELECT DISTINCT embedder FROM vector")
	if err != nil {
		return err
	}
	texts := textsOf(c.Chunk, true)
	for _, p := range all {
		dim := len(p.vectors) / len(texts)
		if len(p.vectors) != dim*len(texts) { // of the chunk alone
			continue
		}
		for i, text := range texts[1:] {
			if keep(i) {
				v := pack(p.vectors[(i+1)*dim:(i+2)*dim], dim)
				if err := w.exec("INSERT INTO vector (embedder, hash, value, sum) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", p.embedder, []byte(key(p.embedder, text)), v, v.sum); err != nil {
					return err
				}
			}
		}
	}
	for _, name := range names {
		for i, text := range texts {
			if i == 0 || !keep(i-1) {
				if err := w.exec("DELETE FROM vector WHERE embedder = ? AND hash = ?", name, []byte(key(name, text))); err != nil {
					return err
				}
			}
		}
	}
	return errors.Join(w.exec("DELETE FROM embedded WHERE chunk = ?", c.row), w.exec("DELETE FROM text WHERE chunk = ?", c.row))
}

// forgetDerived removes what was made of the memory's text for questions, and notes what is left to do outside this
// transaction.
func (w *writer) forgetDerived(turns []placedTurn) error {
	if err := w.exec("DELETE FROM vector WHERE memory = ?", w.memory); err != nil {
		return err
	}
	var sources, words []byte
	for _, t := range turns {
		sources = append(sources, SourceOf(t.Text)...)
		words = append(words, wordsOf(t.Text)...)
	}
	for _, part := range w.parts {
		sources = append(sources, SourceOf(part)...)
	}
	// A nil slice would be NULL, where a text has no word that an index keeps.
	sources, words = append([]byte{}, sources...), append([]byte{}, words...)
	return w.exec("INSERT INTO forgotten (sources, words, replies, pages) VALUES (?, ?, 1, 1)", sources, words)
}

// sourceOf identifies what a chunk says, whatever times its turns are read to have.
func sourceOf(c chunk.Chunk) []byte {
	said := appendQuoted(nil, c.Session)
	for _, t := range c.Turns {
		for _, s := range [...]string{t.ID, t.Speaker, t.Text} {
			said = appendQuoted(said, s)
		}
	}
	h := sha256.Sum256(said)
	return h[:SourceSize]
}

// appendQuoted is strconv.AppendQuote, quicker for text without anything to escape.
func appendQuoted(to []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return strconv.AppendQuote(to, s)
		}
	}
	return append(append(append(to, '"'), s...), '"')
}
