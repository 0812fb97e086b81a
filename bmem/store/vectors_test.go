package store

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/bmem/chunk/chunktest"
	"github.com/budgetmem/budgetmem/bmem/embed/embedtest"
)

func numbered(n int) []string {
	texts := make([]string, n)
	for i := range texts {
		texts[i] = fmt.Sprint("text ", i)
	}
	return texts
}

func TestConcurrentVectorsEmbedOnce(t *testing.T) {
	s := newStore(t)
	e := embedtest.NewCounting("e")
	e.Delay = 2 * time.Millisecond
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			texts := numbered(400)[g*20 : 200+g*20]
			if _, err := s.Vectors(t.Context(), "", e, texts); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for text, n := range e.Texts {
		if n != 1 {
			t.Errorf("%q embedded %d times", text, n)
		}
	}
	if len(e.Texts) != 340 {
		t.Errorf("%d texts embedded, want 340", len(e.Texts))
	}
}

// TestKillLosesLittle kills a process that is embedding and goes on where it was.
func TestKillLosesLittle(t *testing.T) {
	const env = "BMEM_STORE_TEST_KILL"
	if path := os.Getenv(env); path != "" {
		e := embedtest.NewCounting("e")
		e.Delay = 20 * time.Millisecond
		e.Fail = func(call int) error {
			if call == 6 {
				fmt.Println("five batches")
			}
			return nil
		}
		s, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Vectors(t.Context(), "", e, numbered(100_000))
		t.Fatal("ended before it was killed: ", err)
	}
	path := filepath.Join(t.TempDir(), "memory.db")
	child := exec.Command(os.Args[0], "-test.run=^TestKillLosesLittle$")
	child.Env = append(os.Environ(), env+"="+path)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	child.Wait() // the error is the kill
	s := open1(t, path)
	if err := s.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	var stored int
	if err := raw(s).QueryRow("SELECT count(*) FROM vector").Scan(&stored); err != nil {
		t.Fatal(err)
	}
	if stored < 5*embedBatch || stored%embedBatch != 0 {
		t.Errorf("%d vectors survived, want whole batches, at least five", stored)
	}
}

func TestConcurrentPoolsComputeOnce(t *testing.T) {
	s := newStore(t)
	mustAdd(t, s, "a", chunktest.History(1))
	var mu sync.Mutex
	calls := 0
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			facts, err := s.Facts(t.Context(), "m", chunktest.Split(chunktest.History(1))[0], func(context.Context) ([]string, error) {
				mu.Lock()
				defer mu.Unlock()
				calls++
				return []string{"fact"}, nil
			})
			if err != nil || len(facts) != 1 {
				t.Errorf("got %v (%v)", facts, err)
			}
		})
	}
	wg.Wait()
	if calls != 1 {
		t.Errorf("computed %d times", calls)
	}
}
