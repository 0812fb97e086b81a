package llm

import (
	"database/sql"
	"sync"
)

// batch commits the concurrent writes of several callers together: every commit waits for the disk, and SQLite lets all
// writers but one poll for their turn. This process has one writer at a time.
type batch struct {
	db      *sql.DB
	mu      sync.Mutex
	waiting []*write
	writing bool
}

// write is one caller's part of a commit.
type write struct {
	work func(*sql.Tx) error
	err  error
	done chan struct{} // closed when err is set
}

// do returns when work is on the disk. If it fails, or another write of the same commit does, nothing of the commit is written.
func (b *batch) do(work func(*sql.Tx) error) error {
	w := &write{work: work, done: make(chan struct{})}
	b.mu.Lock()
	b.waiting = append(b.waiting, w)
	if !b.writing {
		b.writing = true
		go b.writeAll()
	}
	b.mu.Unlock()
	<-w.done
	return w.err
}

// writeAll commits all waiting writes at once, until none are left.
func (b *batch) writeAll() {
	for {
		b.mu.Lock()
		writes := b.waiting
		b.waiting = nil
		b.writing = len(writes) > 0
		b.mu.Unlock()
		if len(writes) == 0 {
			return
		}
		err := b.commit(writes)
		for _, w := range writes {
			w.err = err
			close(w.done)
		}
	}
}

func (b *batch) commit(writes []*write) error {
	tx, err := b.db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	for _, w := range writes {
		if err := w.work(tx); err != nil {
			return err
		}
	}
	return tx.Commit()
}
