//go:build unix

package main

import (
	"bytes"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/internal/models/modelstest"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

// killsEnv is how many kills the test makes; `make kill-train` makes 20 and more.
const killsEnv = "BUDGETMEM_TEST_KILLS"

// mostInFlight is how many calls a training below has in flight at most: of four questions the three modules that work side by
// side.
const mostInFlight = 4 * 3

// markOf is what every reply to a request begins with, and no reply to another.
func markOf(body string) string { return fmt.Sprintf("r%.8x", sha256.Sum256([]byte(body))) }

var markRE = regexp.MustCompile(`r[0-9a-f]{16}`)

// markedReply is a model whose replies are of the form that is asked for and depend on the request alone; as an answer it
// quotes some words of the prompt, of which a few are right.
func markedReply(c llmtest.Call) string {
	prompt := c.Messages[len(c.Messages)-1].Content
	h := fnv.New64a()
	h.Write([]byte(c.Body))
	rng := rand.New(rand.NewPCG(h.Sum64(), 1))
	words := strings.Fields(prompt)
	from := rng.IntN(len(words))
	quote := strings.Join(words[from:min(from+6, len(words))], " ")
	var payload any = []string{quote}
	switch {
	case strings.Contains(prompt, "whole numbers in the order"):
		payload = []int{rng.IntN(10), rng.IntN(10), rng.IntN(10), rng.IntN(10), rng.IntN(10)}
	case strings.Contains(prompt, "numbers of the lines"):
		payload = []int{1 + rng.IntN(5), 6}
	case strings.Contains(prompt, "Write the answer only"), strings.Contains(prompt, "Put only the answer"):
		return markOf(c.Body) + " " + quote
	}
	list, err := json.Marshal(payload)
	if err != nil {
		panic(err) // it is a list of plain values
	}
	return markOf(c.Body) + " <answer>" + string(list) + "</answer>"
}

// liveTraining is `bmem train --live` in processes of its own, each with the same arguments.
type liveTraining struct {
	server *llmtest.Server
	dir    string // of runs and cache
}

func (l liveTraining) start(t *testing.T) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "train", "--live", "--method", "ppo", "--seeds", "1", "--dataset", "locomo", "--questions", "8", "--validation-questions", "4",
		"--test-questions", "4", "--endpoint", l.server.URL(), "--model", "llama-3.3-70b", "--embedder", "made-up@"+l.server.URL(), "--allow-unpriced", "--in-flight", "4",
		"--backend", "go", "--runs", l.dir, "--cache", filepath.Join(l.dir, "cache"), "--name", "x", "--set", "epochs=3", "--set", "batch=4", "--set", "minibatch=4")
	cmd.Env = append(os.Environ(), processEnv+"=1")
	output := &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, output
}

// chats are the server's model calls from the n-th call on.
func (l liveTraining) chats(n int) []llmtest.Call {
	return slices.DeleteFunc(l.server.Calls()[n:], func(c llmtest.Call) bool { return !strings.HasSuffix(c.Path, "/chat/completions") })
}

// stored are the marks of the replies that are on the disk.
func (l liveTraining) stored(t *testing.T) map[string]bool {
	t.Helper()
	path := filepath.Join(l.dir, "cache", "replies.db")
	if _, err := os.Stat(path); err != nil {
		return nil
	}
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.Query("SELECT reply FROM replies")
	if err != nil && strings.Contains(err.Error(), "no such table") { // killed before it was made
		return nil
	} else if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	marks := map[string]bool{}
	for rows.Next() {
		var reply string
		if err := rows.Scan(&reply); err != nil {
			t.Fatal(err)
		}
		marks[markRE.FindString(reply)] = true
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return marks
}

// results are the files that must not depend on kills. Of the traces, which also tell times, it is which there are.
func (l liveTraining) results(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	run := filepath.Join(l.dir, "x")
	for _, pattern := range []string{"config.json", "summary.json", "seed-42/*.jsonl", "seed-42/checkpoints/*.safetensors"} {
		found, err := filepath.Glob(filepath.Join(run, pattern))
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: %v, %v", pattern, found, err)
		}
		for _, path := range found {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			name, _ := filepath.Rel(run, path)
			out[name] = fmt.Sprintf("%x", sha256.Sum256(bytes.ReplaceAll(data, []byte(l.dir), []byte("DIR"))))
		}
	}
	for _, split := range splits {
		f, err := episodes.ReadFile(filepath.Join(run, "traces."+split+".jsonl.gz"))
		if err != nil {
			t.Fatal(err)
		}
		var asked []string
		for _, tr := range f.Episodes {
			asked = append(asked, fmt.Sprint(tr.ID, tr.Choices, tr.Score, tr.ModulesDollars, tr.AnswerDollars))
		}
		slices.Sort(asked)
		out["traces."+split] = strings.Join(asked, "\n")
	}
	return out
}

// A training that asks live is killed by SIGKILL at random moments of its whole life, from start-up to the evaluation on test,
// and started again each time. It ends with the same files as one that was left alone, best and last router included, and pays
// no call twice.
//
// A call is paid twice if the model is asked for a reply that was on the disk when the training was killed. A reply that the
// endpoint had made, but the training had not stored yet, has been used for nothing: it is lost with the process and is
// asked for again. That can befall only calls that were in flight, which the test counts, too.
func TestKilledLiveTrainingEndsTheSameAndPaysOnce(t *testing.T) {
	modelstest.Path(t, "all-minilm-l6-v2")
	kills := 5
	if s := os.Getenv(killsEnv); s != "" {
		var err error
		if kills, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	server := llmtest.New(llmtest.Config{Reply: markedReply, Latency: 10 * time.Millisecond})
	defer server.Close()

	// The calm one shows how long the phases are: up to the first call, and from the last one on.
	calm := liveTraining{server, t.TempDir()}
	began := time.Now()
	cmd, output := calm.start(t)
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	var first, last time.Time
	for n, running := 0, true; running; {
		select {
		case err := <-ended:
			if err != nil {
				t.Fatalf("%v\n%s", err, output)
			}
			running = false
		case <-time.After(2 * time.Millisecond):
		}
		if now := server.Count(); now > n {
			if n = now; first.IsZero() {
				first = time.Now()
			}
			last = time.Now()
		}
	}
	startUp, tail := first.Sub(began), time.Since(last)
	total := len(calm.chats(0))
	t.Logf("left alone: %d calls in %v; %v before the first, %v after the last", total, time.Since(began).Round(time.Millisecond), startUp.Round(time.Millisecond), tail.Round(time.Millisecond))
	want := calm.results(t)

	torn := liveTraining{server, t.TempDir()}
	from := server.Count()
	paid := map[string]bool{} // marks that were on the disk when a start ended
	lost := 0
	for n, m := range moments(rand.New(rand.NewPCG(1, 2)), kills, total, startUp, tail) {
		for landed := false; !landed; m.after /= 2 {
			before := server.Count()
			cmd, output := torn.start(t)
			m.wait(func() int { return distinct(torn.chats(from)) })
			_ = cmd.Process.Kill() // it may have ended
			err := cmd.Wait()
			if landed = cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL; !landed {
				// It was quicker than expected. What is done is evaluated anew by another start, so there is another chance.
				if err != nil || m.calls < total {
					t.Fatalf("kill %d, %v: the training had ended: %v\n%s", n+1, m, err, output)
				}
				t.Logf("kill %d, %v: too late", n+1, m)
			}
			stored := torn.stored(t)
			inFlight := 0
			for _, c := range torn.chats(before) {
				mark := markOf(c.Body)
				if paid[mark] {
					t.Errorf("kill %d, %v: asked again for a reply that was there: %s", n+1, m, c.Body)
				}
				if !stored[mark] {
					inFlight++
				}
			}
			if inFlight > mostInFlight {
				t.Errorf("kill %d, %v: %d replies lost, but at most %d calls were in flight", n+1, m, inFlight, mostInFlight)
			}
			lost += inFlight
			paid = stored
			t.Logf("kill %d, %v: %d replies stored, %d lost", n+1, m, len(stored), inFlight)
		}
	}
	before := server.Count()
	cmd, output = torn.start(t)
	if err := cmd.Wait(); err != nil {
		t.Fatalf("last start: %v\n%s", err, output)
	}
	for _, c := range torn.chats(before) {
		if paid[markOf(c.Body)] {
			t.Errorf("the last start asks again for a reply that was there: %s", c.Body)
		}
	}
	calls := torn.chats(from)
	if n := distinct(calls); n != total || len(calls) != total+lost {
		t.Errorf("%d calls, %d different ones; want %d, and %d for those lost", len(calls), n, total, lost)
	}
	got := torn.results(t)
	for name, content := range want {
		if got[name] != content {
			t.Errorf("%s differs: %.200s, want %.200s", name, got[name], content)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d files, want %d", len(got), len(want))
	}
	for _, name := range []string{"best", "last"} {
		t.Logf("after %d kills, %s has the SHA-256 %s", kills, name, got["seed-42/checkpoints/"+name+".safetensors"])
	}
}

func distinct(calls []llmtest.Call) int {
	bodies := map[string]bool{}
	for _, c := range calls {
		bodies[c.Body] = true
	}
	return len(bodies)
}

// moment is when a start is killed: a time after so many different calls have been made since the first start.
type moment struct {
	calls int
	after time.Duration
}

func (m moment) String() string {
	return fmt.Sprintf("%v after call %d", m.after.Round(100*time.Microsecond), m.calls)
}

// wait waits for the moment, but not for ever: a training that has ended makes no calls.
func (m moment) wait(calls func() int) {
	for deadline := time.Now().Add(2 * time.Minute); calls() < m.calls && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
	}
	time.Sleep(m.after)
}

// moments spreads kills over a training's life: of five, one in start-up, three while calls are made, one in each equal part of
// these calls, and one after the last call, when what is left to do is to write down the outcome.
func moments(rng *rand.Rand, kills, calls int, startUp, tail time.Duration) []moment {
	within := func(d time.Duration) time.Duration { return time.Duration(rng.Float64() * float64(d)) }
	var out []moment
	atStart, atEnd := kills/5, kills/5
	for i := range kills - atStart - atEnd {
		part := float64(calls-1) / float64(kills-atStart-atEnd)
		out = append(out, moment{1 + int((float64(i)+rng.Float64())*part), within(30 * time.Millisecond)})
	}
	for range atStart {
		out = slices.Insert(out, rng.IntN(len(out)+1), moment{0, within(startUp)})
	}
	for i := range atEnd {
		m := moment{calls, within(tail / 2)}
		if i > 0 { // no calls are left to make: it starts, and evaluates
			m.after += startUp
		}
		out = append(out, m)
	}
	return out
}
