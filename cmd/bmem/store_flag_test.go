package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/bmem/setup"
	"github.com/budgetmem/budgetmem/bmem/store"
	"github.com/budgetmem/budgetmem/internal/pgtest"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

// fillStore adds three turns to a memory of a store.
func fillStore(t *testing.T, address string) {
	t.Helper()
	s, err := setup.OpenStore(t.Context(), address, "")
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Append(context.Background(), "talk", []chunk.Turn{
		{ID: "t1", Session: "1", Speaker: "Ann", Text: "I moved to Bern."},
		{ID: "t2", Session: "1", Speaker: "Bo", Text: "How nice!"},
		{ID: "t3", Session: "2", Speaker: "Ann", Text: "My passport number is ZYXWORD."},
	}, store.Cutter{Count: func(s string) int { return len(strings.Fields(s)) }, MaxTokens: 30}, store.AddOptions{})
	if err := errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
}

// The verbs for memories work on the store that --store or the environment names, be it a server or a file, and leave memory.db alone.
func TestStoreFlag(t *testing.T) {
	for name, address := range map[string]string{"server": pgtest.Shared(t).URL(pgtest.Schema()), "file": filepath.Join(t.TempDir(), "elsewhere.db")} {
		t.Run(name, func(t *testing.T) {
			cache := t.TempDir()
			fillStore(t, address)
			run := func(want string, args ...string) {
				t.Helper()
				out, err := runVerb(t, "", append([]string{"memory"}, args...)...)
				if err != nil || !strings.Contains(out, want) {
					t.Errorf("%v: %v, %s", args, err, out)
				}
			}
			run("talk", "list", "--store", address, "--cache", cache)
			run("ZYXWORD", "show", "talk", "--store", address, "--cache", cache)
			run("", "forget", "talk", "--turn", "t3", "--store", address, "--cache", cache)
			t.Setenv(setup.EnvStore, address)
			if out, err := runVerb(t, "", "memory", "export", "talk", "--cache", cache); err != nil || strings.Contains(out, "ZYXWORD") || !strings.Contains(out, "Bern") {
				t.Errorf("export: %v, %s", err, out)
			}
			run("1 memory, all sound", "check", "--cache", cache)
			if out, err := runVerb(t, "", "doctor", "--check", "--cache", cache); err != nil || !strings.Contains(out, "elsewhere.db: sound") && !strings.Contains(out, "postgres://bm@") {
				t.Errorf("doctor: %v, %s", err, out)
			}
			if _, err := os.Stat(filepath.Join(cache, setup.MemoryFile)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("a file of memories was made: %v", err)
			}
		})
	}
}

// A question of a file makes its memory in the server, and another one on another machine, with a cache folder of its own, embeds nothing
// again.
func TestAskInSharedStore(t *testing.T) {
	a := newAsker(t)
	s := llmtest.New(llmtest.Config{Reply: func(llmtest.Call) string { return "The old mill it is" }})
	defer s.Close()
	address := pgtest.Shared(t).URL(pgtest.Schema())
	for _, cache := range []string{"here", "there"} {
		answer, err := a.ask(cache, "--model", "m", "--endpoint", s.URL(), "--store", address)
		if err != nil || len(answer.Trace.Retrieved) == 0 {
			t.Fatalf("%+v, %v", answer, err)
		}
	}
	if out, err := runVerb(t, "", "memory", "list", "--store", address, "--cache", t.TempDir()); err != nil || strings.Count(out, "talk.jsonl") != 1 {
		t.Errorf("%v, %s", err, out)
	}
}

// A server that does not answer is named, without the password, by all verbs.
func TestStoreIsNotThere(t *testing.T) {
	const address = "postgres://u:hunter2@127.0.0.1:1/d"
	for _, args := range [][]string{
		{"memory", "list"},
		{"ask", "--memory", "nothing", "Where?"},
		{"mcp", "--model", "m", "--endpoint", "http://127.0.0.1:1"},
		{"memory", "list", "--store", "mysql://u:hunter2@h/d"},
	} {
		args = append(args, "--cache", t.TempDir())
		want := "postgres://USER@"
		if !strings.Contains(strings.Join(args, " "), "mysql") {
			args, want = append(args, "--store", address), "no PostgreSQL server answers there"
		}
		out, err := runVerb(t, "", args...)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(out+err.Error(), "hunter2") {
			t.Errorf("%v: %v, %s", args[:2], err, out)
		}
	}
	if _, err := runVerb(t, "", "serve", "--store", address); err == nil || !strings.Contains(err.Error(), "--memories") {
		t.Errorf("serve without memories: %v", err)
	}
}
