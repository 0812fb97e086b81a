//go:build unix

package store

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"syscall"
	"testing"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/bmem/chunk/chunktest"
	"github.com/budgetmem/budgetmem/bmem/embed/embedtest"
)

// A store on a disk that can only be read is asked as before; what would change it is refused.
func TestReadOnly(t *testing.T) {
	const env = "BMEM_STORE_TEST_READONLY"
	e := &embedtest.Words{}
	if path := os.Getenv(env); path != "" {
		askReadOnly(t, path, e)
		return
	}
	// Test folders are closed to other users, who play the part of one that may not write if this one may do everything.
	top, err := os.MkdirTemp("", "store-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(top, 0o700); os.RemoveAll(top) })
	path := filepath.Join(top, "memory.db")
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	mustAdd(t, s, "m", chunktest.History(10))
	// The other one is left as a kill leaves it, with a log.
	logged, tmp := filepath.Join(top, "logged.db"), filepath.Join(top, "tmp")
	if err := s.Embed(t.Context(), "m", e, true, nil); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"", "-wal"} {
		data, err := os.ReadFile(path + suffix)
		if err == nil {
			err = os.WriteFile(logged+suffix, data, 0o600)
		}
		if err == nil {
			err = os.Chmod(logged+suffix, 0o444)
		}
		if err != nil || len(data) == 0 {
			t.Fatalf("%d bytes of %s, %v", len(data), path+suffix, err)
		}
	}
	if err := errors.Join(s.Close(), os.Mkdir(tmp, 0o700), os.Chmod(tmp, 0o777)); err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(top, "child")
	program, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(binary, program, 0o755), os.Chmod(path, 0o444), os.Chmod(top, 0o555)); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{path, logged} {
		child := exec.Command(binary, "-test.run=^TestReadOnly$")
		child.Env = append(os.Environ(), env+"="+file, "TMPDIR="+tmp)
		if child.Dir = "/"; os.Geteuid() == 0 {
			child.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		}
		if out, err := child.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", file, err, out)
		}
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}

func askReadOnly(t *testing.T, path string, e *embedtest.Words) {
	if err := os.WriteFile(path+"-new", nil, 0o600); err == nil {
		t.Fatal("the folder can be written, so nothing is tested")
	}
	s := open1(t, path)
	m, err := s.Memory(t.Context(), "m")
	if err != nil || !reflect.DeepEqual(m.Turns, chunktest.History(10)) {
		t.Errorf("read %d turns, %v", len(m.Turns), err)
	}
	if ix, err := s.ReadIndex(t.Context(), "m", e, true, -1, nil); err != nil || len(ix.Chunks) != len(m.Chunks) {
		t.Errorf("read %d chunks of %d, %v", len(ix.Chunks), len(m.Chunks), err)
	}
	if v, err := s.Vectors(t.Context(), "m", e, []string{"a new question"}); err != nil || len(v) != 1 {
		t.Errorf("%d vectors of a question, %v", len(v), err)
	}
	facts, err := s.Facts(t.Context(), "method", m.Chunks[0], func(context.Context) ([]string, error) { return []string{"fact"}, nil })
	if err != nil || len(facts) != 1 {
		t.Errorf("facts %v, %v", facts, err)
	}
	if _, err := s.Append(t.Context(), "m", []chunk.Turn{{ID: "new", Text: "new"}}, cutter, AddOptions{}); !errors.Is(err, ErrReadOnly) {
		t.Errorf("append: %v, want ErrReadOnly", err)
	}
	if _, err := s.Forget(t.Context(), Selection{Memory: "m"}); !errors.Is(err, ErrReadOnly) {
		t.Errorf("forget: %v, want ErrReadOnly", err)
	}
}
