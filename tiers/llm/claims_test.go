//go:build linux || darwin

package llm_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

// cacheChild asks all questions with the cache in dir and no ledger.
func cacheChild(url, dir string) error {
	cache, err := llm.OpenCache(filepath.Join(dir, "replies.db"))
	if err != nil {
		return err
	}
	askAll(url, llm.StackOptions{Cache: cache})
	return cache.Close()
}

// anotherChild asks what nobody has asked.
func anotherChild(url, dir string) error {
	cache, err := llm.OpenCache(filepath.Join(dir, "replies.db"))
	if err != nil {
		return err
	}
	t := &childTB{}
	_, err = stack(t, endpoint(t, url, time.Minute), llm.StackOptions{Cache: cache}).Chat(context.Background(), ask("something else"))
	return errors.Join(err, cache.Close())
}

func childProcess(binary, kind, url, dir string) (*exec.Cmd, *bytes.Buffer) {
	cmd := exec.Command(binary)
	cmd.Env = append(os.Environ(), "LLM_TEST_CHILD="+kind, "LLM_TEST_CHILD_URL="+url, "LLM_TEST_CHILD_DIR="+dir)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	return cmd, &out
}

// sorted are the lines that a child wrote.
func sorted(out *bytes.Buffer) []string {
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	slices.Sort(lines)
	return lines
}

// Processes that ask the same at the same time with one cache pay for each reply once, together.
func TestProcessesShareTheirCalls(t *testing.T) {
	s := startServer(t, llmtest.Config{Reply: reply, Latency: 10 * time.Millisecond})
	dir := t.TempDir()
	var cmds []*exec.Cmd
	var outs []*bytes.Buffer
	for range 3 {
		cmd, out := childProcess(os.Args[0], "cache", s.URL(), dir)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		cmds, outs = append(cmds, cmd), append(outs, out)
	}
	for i, cmd := range cmds {
		if err := cmd.Wait(); err != nil {
			t.Fatalf("process %d: %v\n%s", i, err, outs[i])
		}
	}
	if n := s.Count(); n != killQuestions {
		t.Errorf("%d calls for %d questions", n, killQuestions)
	}
	for _, out := range outs[1:] {
		if !slices.Equal(sorted(out), sorted(outs[0])) || len(sorted(out)) != killQuestions {
			t.Errorf("the processes got different replies")
		}
	}
}

// While a process asks, another one that wants the same waits; when the first is killed, the second asks at once.
func TestClaimsEndWithTheirProcess(t *testing.T) {
	var answer atomic.Bool
	s := startServer(t, llmtest.Config{Reply: reply, Script: func(llmtest.Call) llmtest.Fault {
		if !answer.Load() {
			return llmtest.Fault{Kind: llmtest.Hang}
		}
		return llmtest.Fault{}
	}})
	dir := t.TempDir()
	first, out := childProcess(os.Args[0], "cache", s.URL(), dir)
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); s.Count() < 8; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the first process does not ask\n%s", out)
		}
	}
	cache := openCache(t, filepath.Join(dir, "replies.db"))
	client := stack(t, endpoint(t, s.URL(), time.Minute), llm.StackOptions{Cache: cache, Retry: quick})
	asked := ask(s.Calls()[0].Messages[0].Content)
	soon, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := client.Chat(soon, asked); err == nil || s.Count() != 8 {
		t.Errorf("error %v after %d calls; want the claim to be waited for", err, s.Count())
	}
	answer.Store(true)
	got := make(chan error, 1)
	go func() {
		_, err := client.Chat(t.Context(), asked)
		got <- err
	}()
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = first.Wait() // it was killed
	select {
	case err := <-got:
		if err != nil || s.Count() != 9 {
			t.Errorf("%v after %d calls, want an answer after 9", err, s.Count())
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the claim outlived its process")
	}
}

// A process that is stopped, and so keeps its claim, is not waited for for ever.
func TestClaimsExpire(t *testing.T) {
	path := cachePath(t)
	asked, end := make(chan struct{}), make(chan struct{})
	stopped := &llmtest.Client{Reply: func(context.Context, llm.Request) (string, error) {
		close(asked)
		<-end
		return "late", nil
	}}
	late := make(chan llm.Response, 1)
	holder := stack(t, stopped, llm.StackOptions{Cache: openCache(t, path)})
	go func() {
		resp, err := holder.Chat(t.Context(), ask("q"))
		if err != nil {
			t.Error(err)
		}
		late <- resp
	}()
	<-asked
	cache := openCache(t, path)
	cache.SetPatience(50 * time.Millisecond)
	quick := &llmtest.Client{Reply: func(context.Context, llm.Request) (string, error) { return "early", nil }}
	if resp := mustChat(t, stack(t, quick, llm.StackOptions{Cache: cache}), ask("q")); resp.Text != "early" {
		t.Errorf("got %q", resp.Text)
	}
	close(end)
	if resp := <-late; resp.Text != "early" || resp.Usage.Paid == 0 {
		t.Errorf("the late process got %q, paid $%v; want the reply that was stored first, and its own bill", resp.Text, resp.Usage.Paid)
	}
}

// A process that may only read finds what is stored, and asks nothing.
func TestReadOnlyReplay(t *testing.T) {
	s := startServer(t, llmtest.Config{Reply: reply})
	for name, last := range map[string]func(t *testing.T, dir string){
		"closed":          func(*testing.T, string) {},
		"left with a log": leaveLog,
		"of a version that forgot nothing": func(t *testing.T, dir string) {
			db := rawDB(t, filepath.Join(dir, "replies.db"))
			for _, q := range []string{"DROP TABLE forgotten", "ALTER TABLE replies DROP COLUMN sources", "PRAGMA user_version = 1"} {
				if _, err := db.Exec(q); err != nil {
					t.Fatal(err)
				}
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			// Test folders are closed to other users, who play the part of one that may not write if this one may do everything.
			top, err := os.MkdirTemp("", "llm-")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(top) })
			dir := filepath.Join(top, "cache")
			cmd, out := childProcess(os.Args[0], "cache", s.URL(), dir)
			if err := cmd.Run(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			want := sorted(out)
			last(t, dir)
			binary := filepath.Join(top, "child")
			copyTo(t, os.Args[0], binary)
			names, err := filepath.Glob(filepath.Join(dir, "*"))
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range append(names, dir, top) {
				mode := os.FileMode(0o444)
				if name == dir || name == top {
					mode = 0o555
				}
				if err := os.Chmod(name, mode); err != nil {
					t.Fatal(err)
				}
			}
			t.Cleanup(func() { os.Chmod(top, 0o700); os.Chmod(dir, 0o700) })
			count := s.Count()
			restricted := func(kind string) (*exec.Cmd, *bytes.Buffer) {
				cmd, out := childProcess(binary, kind, s.URL(), dir)
				if cmd.Dir = "/"; os.Geteuid() == 0 {
					cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
				}
				return cmd, out
			}
			cmd, out = restricted("cache")
			if err := cmd.Run(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if !slices.Equal(sorted(out), want) || s.Count() != count {
				t.Errorf("%d calls, and other replies than before", s.Count()-count)
			}
			// What is not stored is refused before it is paid for.
			cmd, out = restricted("another")
			if err := cmd.Run(); err == nil || !strings.Contains(out.String(), "can only be read") || s.Count() != count {
				t.Errorf("%v after %d calls, want a refusal:\n%s", err, s.Count()-count, out)
			}
		})
	}
}

// leaveLog leaves a part of the file in its log, as a kill does.
func leaveLog(t *testing.T, dir string) {
	t.Helper()
	path := filepath.Join(dir, "replies.db")
	copied := t.TempDir()
	open := openCache(t, path)
	mustChat(t, stack(t, &llmtest.Client{}, llm.StackOptions{Cache: open}), ask("one more"))
	for _, name := range []string{"replies.db", "replies.db-wal"} {
		copyTo(t, filepath.Join(dir, name), filepath.Join(copied, name))
	}
	if err := open.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"replies.db", "replies.db-wal"} {
		copyTo(t, filepath.Join(copied, name), filepath.Join(dir, name))
	}
}

func copyTo(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}
