package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
)

// Replies are the replies of models, kept elsewhere, that may quote what is forgotten.
type Replies interface {
	// Forget removes the replies that were made from a text of one of the sources, which are as SourceOf makes them, and of
	// those that do not say what they were made from, the ones that quote what is forgotten.
	Forget(ctx context.Context, sources map[string]bool, quotes func(reply string) bool) error
}

// ForgetIn makes the store remove what it forgets from these replies too, beginning with what was left to do. In a store that machines
// share, each of them looks through its own replies, which are known by the machine and, if they have a method String, by what that says.
func (s *Store) ForgetIn(ctx context.Context, r Replies) error {
	s.replies.Store(&r)
	if err := s.noteReader(ctx, time.Now()); err != nil {
		return err
	}
	return s.scrub(ctx)
}

const (
	// SourceSize is the length of a source in bytes.
	SourceSize = 16
	wordSize   = 8
)

// SourceOf identifies the text of a turn, for marking what was made from it.
func SourceOf(text string) []byte {
	h := sha256.Sum256([]byte("turn\x00" + text))
	return h[:SourceSize]
}

// hashWord identifies a word, so that a list of words to look for does not hold them.
func hashWord(word string) string {
	h := sha256.Sum256([]byte("word\x00" + word))
	return string(h[:wordSize])
}

// tellingWords are the words of a text by which a reply that quotes it is known: those of four characters and more, and all with a digit.
func tellingWords(text string) []string {
	var words []string
	for _, w := range strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsNumber(r) }) {
		if len([]rune(w)) >= 4 || strings.ContainsFunc(w, unicode.IsNumber) || strings.ContainsFunc(w, func(r rune) bool { return r > 0x2e80 }) {
			words = append(words, w)
		}
	}
	return words
}

func wordsOf(text string) []byte {
	var out []byte
	for _, w := range tellingWords(text) {
		out = append(out, hashWord(w)...)
	}
	return out
}

// scrub does what is left to do after something was forgotten: replies that were made from it, and pages of the file that
// hold what was deleted. It goes on where a killed process stopped.
func (s *Store) scrub(ctx context.Context) error {
	if s.db.ReadOnly() {
		return nil // the next process that may write does it
	}
	var last sql.NullInt64
	var pages, replies int
	err := s.db.View(ctx, func(tx Tx) error {
		return row(tx, []any{&last, &pages, &replies}, "SELECT max(id), coalesce(max(pages), 0), coalesce(max(replies), 0) FROM forgotten")
	})
	if err != nil || !last.Valid {
		return err
	}
	if r := s.replies.Load(); r != nil && replies > 0 {
		if err := s.scrubReplies(ctx, *r, last.Int64); err != nil {
			return fmt.Errorf("forget the replies: %w", err)
		}
		s.scrubbed.Store(last.Int64)
	}
	if pages > 0 {
		if err := s.scrubPages(ctx, last.Int64); err != nil {
			return fmt.Errorf("forget the pages of the file: %w", err)
		}
	}
	return nil
}

func (s *Store) scrubReplies(ctx context.Context, r Replies, last int64) error {
	var sources, words map[string]bool
	var after int64
	shared, reader := s.db.Shared(), readerOf(r)
	err := s.db.View(ctx, func(tx Tx) error {
		sources, words, after = map[string]bool{}, map[string]bool{}, 0
		if shared {
			if err := row(tx, []any{&after}, "SELECT last FROM reader WHERE cache = ?", reader); err != nil && !errors.Is(err, sql.ErrNoRows) {
				return err
			}
		}
		return each(tx, func(rows Rows) error {
			var a, b []byte
			err := rows.Scan(&a, &b)
			addPieces(sources, a, SourceSize)
			addPieces(words, b, wordSize)
			return err
		}, "SELECT sources, words FROM forgotten WHERE replies > 0 AND id > ? AND id <= ?", after, last)
	})
	if err != nil || after >= last {
		return err
	}
	quotes := func(reply string) bool {
		return slices.ContainsFunc(tellingWords(reply), func(w string) bool { return words[hashWord(w)] })
	}
	if err := r.Forget(ctx, sources, quotes); err != nil {
		return err
	}
	return s.db.Change(ctx, Shared, func(tx Tx) error {
		done := last
		if shared {
			if err := putReader(tx, reader, last, time.Now()); err != nil {
				return err
			}
			if err := row(tx, []any{&done}, "SELECT min(last) FROM reader"); err != nil {
				return err
			}
		}
		return errors.Join(
			tx.Exec("UPDATE forgotten SET replies = 0, sources = ?1, words = ?1 WHERE id <= ?2", []byte{}, done),
			tx.Exec("DELETE FROM forgotten WHERE replies = 0 AND pages = 0"))
	})
}

func addPieces(to map[string]bool, b []byte, size int) {
	for ; len(b) >= size; b = b[size:] {
		to[string(b[:size])] = true
	}
}

// scrubPages removes what the deleted rows have left in the files.
func (s *Store) scrubPages(ctx context.Context, last int64) error {
	if err := s.db.Scrub(ctx); err != nil {
		return err
	}
	return s.db.Change(ctx, Shared, func(tx Tx) error {
		return errors.Join(
			tx.Exec("UPDATE forgotten SET pages = 0 WHERE id <= ?", last),
			tx.Exec("DELETE FROM forgotten WHERE replies = 0 AND pages = 0"))
	})
}
