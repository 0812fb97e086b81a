package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/bmem/chunk/chunktest"
	"github.com/budgetmem/budgetmem/bmem/embed/embedtest"
	"github.com/budgetmem/budgetmem/internal/testenv"
)

// TestKilledWhileForgetting kills a process at random moments while it forgets one turn after the other, beside one that adds. Each
// turn is then there whole, or no file holds a word of it.
func TestKilledWhileForgetting(t *testing.T) {
	const env, turns, kills = "BMEM_STORE_TEST_FORGET", 60, 20
	secret := func(i int) string { return fmt.Sprintf("SECRET%03dX", i) }
	ctx, e := context.Background(), &embedtest.Words{}
	if path := os.Getenv(env); path != "" {
		s, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		go func() { // load
			for i := 0; ; i++ {
				_, err := s.Append(ctx, "busy", []chunk.Turn{{Session: "s", Text: fmt.Sprint("load ", i)}}, cutter, AddOptions{})
				if err != nil {
					return
				}
			}
		}()
		fmt.Println("ready")
		for i := range turns {
			if _, err := s.Forget(ctx, Selection{Memory: "m", Turns: []string{fmt.Sprint("t", i)}}); err != nil && !errors.Is(err, ErrNoTurn) && !errors.Is(err, ErrNoMemory) {
				t.Fatal(err)
			}
		}
		return
	}
	testenv.Slow(t, "kills twenty processes")
	dir := t.TempDir()
	path := filepath.Join(dir, "memory.db")
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	all := chunktest.History(turns)
	for i := range all {
		all[i].Text += " " + secret(i)
	}
	mustAdd(t, s, "m", all)
	if err := errors.Join(s.Embed(ctx, "m", e, true, nil), s.Close()); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	gone := 0
	for kill := range kills {
		child := exec.Command(os.Args[0], "-test.run=^TestKilledWhileForgetting$")
		child.Env = append(os.Environ(), env+"="+path)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || !strings.Contains(line, "ready") {
			t.Fatalf("the child says %q (%v)", line, err)
		}
		time.Sleep(time.Duration(rng.IntN(60)) * time.Millisecond)
		child.Process.Kill()
		child.Wait() // the error is the kill

		s, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		gone = 0
		for i := range turns {
			_, err := s.Turn(ctx, "m", fmt.Sprint("t", i))
			files := holds(t, dir, secret(i))
			switch {
			case err == nil && len(files) == 0:
				t.Errorf("kill %d: turn %d is there without its text", kill, i)
			case errors.Is(err, ErrNoTurn) || errors.Is(err, ErrNoMemory):
				gone++
				if len(files) > 0 {
					t.Errorf("kill %d: of forgotten turn %d text is left in %v", kill, i, files)
				}
			case err != nil:
				t.Fatal(err)
			}
		}
		if _, err := s.ReadIndex(ctx, "m", e, true, -1, nil); err != nil && !errors.Is(err, ErrNoMemory) {
			t.Errorf("kill %d: %v", kill, err)
		}
		if err := errors.Join(s.Check(ctx), s.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if gone == 0 {
		t.Error("nothing was ever forgotten; the kills came too early")
	}
}
