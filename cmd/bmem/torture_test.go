//go:build unix

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/bmem"
	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/internal/faulttest"
	"github.com/budgetmem/budgetmem/internal/models/modelstest"
	"github.com/budgetmem/budgetmem/internal/testenv"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

// tortureEnv is how long each of the two tests below may take, such as 30m; `make torture` sets it. Without it a few points of
// each kind are tried.
const tortureEnv = "BUDGETMEM_TORTURE"

// tortureTime returns the time that a test has, and whether it is the long form.
func tortureTime(t *testing.T) (time.Duration, bool) {
	t.Helper()
	text := os.Getenv(tortureEnv)
	if text == "" {
		return 0, false
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("%s: %v", tortureEnv, err)
	}
	return d, true
}

// victim is a command line that something happens to.
type victim struct {
	name string
	// args are its arguments at an endpoint; it runs in a folder of its own.
	args func(url string) []string
	// result is what it must end with, read from its output and its folder.
	result func(dir, stdout string) (string, error)
	// inFlight bounds how many calls of its models are in flight at one time.
	inFlight int
}

func victims() []victim {
	models := func(url string, more ...string) []string {
		return append([]string{"--backend", "go", "--endpoint", url, "--model", "m", "--embedder", "emb@" + url, "--prices", "prices.yaml", "--cache", "cache"}, more...)
	}
	bench := func(url string, more ...string) []string {
		return models(url, append([]string{"--dataset", "hotpotqa", "--questions", "1", "--split", "validation", "--runs", "runs", "--name", "x", "--in-flight", "2", "--max-dollars", "5"}, more...)...)
	}
	answer := func(_, stdout string) (string, error) {
		var a bmem.Answer
		if err := json.Unmarshal([]byte(stdout[max(0, strings.Index(stdout, "{")):]), &a); err != nil {
			return "", err
		}
		return a.Text, nil
	}
	return []victim{
		{"ask", func(url string) []string {
			return append([]string{"ask", "--json", "--policy", "high", "--memory", "talk.jsonl"}, models(url, "Where do they meet?")...)
		}, answer, 3},
		{"add", func(url string) []string {
			return append([]string{"ask", "--json", "--policy", "low", "--memory", "long.jsonl"}, models(url, "What about the garden?")...)
		}, answer, 1},
		{"eval", func(url string) []string { return append([]string{"eval", "--policy", "mid"}, bench(url)...) }, func(dir, _ string) (string, error) {
			data, err := os.ReadFile(filepath.Join(dir, "runs", "x", "predictions.jsonl"))
			return string(data), err
		}, 2 * 3},
		{"collect", func(url string) []string {
			return append([]string{"traces", "collect", "--design", "random:2", "--out", "out.jsonl.gz"}, bench(url)...)
		}, func(dir, _ string) (string, error) { return asked(filepath.Join(dir, "out.jsonl.gz")) }, 2 * 3},
		{"train", func(string) []string {
			return []string{"train", "--backend", "go", "--seeds", "1", "--method", "ppo", "--set", "epochs=2", "--set", "batch=8", "--set", "minibatch=8", "--runs", "runs", "--name", "x",
				"--traces", "made/train.jsonl.gz", "--validation-traces", "made/validation.jsonl.gz"}
		}, func(dir, _ string) (string, error) {
			data, err := os.ReadFile(filepath.Join(dir, "runs", "x", "seed-42", "checkpoints", "best.safetensors"))
			return string(data), err
		}, 0},
	}
}

// asked lists what a trace file holds, without times.
func asked(path string) (string, error) {
	f, err := episodes.ReadFile(path)
	if err != nil {
		return "", err
	}
	var lines []string // an extended file has what was there first
	for _, e := range f.Episodes {
		lines = append(lines, fmt.Sprintln(e.ID, e.Choices, e.Score, e.ModulesDollars, e.AnswerDollars))
	}
	slices.Sort(lines)
	return strings.Join(lines, ""), nil
}

// torture is what happens to one victim in one folder.
type torture struct {
	victim
	t      *testing.T
	dir    string
	server *llmtest.Server
}

func newTorture(t *testing.T, v victim) *torture {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var long strings.Builder
	for i := range 40 {
		fmt.Fprintf(&long, `{"session": "%d", "speaker": "Omar", "text": "Line number %d about the garden, which has many flowers and some trees."}`+"\n", i/10, i)
	}
	files := map[string]string{"talk.jsonl": meeting, "long.jsonl": long.String(), "prices.yaml": "prices:\n- {model: m, in: 1, out: 2}\n- {model: emb, in: 0.1, out: 0}\n"}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if v.name == "train" {
		if err := writeTraces(filepath.Join(dir, "made")); err != nil {
			t.Fatal(err)
		}
	}
	s := llmtest.New(llmtest.Config{Reply: markedReply})
	t.Cleanup(s.Close)
	return &torture{v, t, dir, s}
}

// ending is how a start of the victim ended.
type ending struct {
	err            error // of the process
	stdout, stderr string
	counts         faulttest.Counts
}

func (x *torture) command() (*exec.Cmd, *bytes.Buffer, *bytes.Buffer) {
	cmd := exec.Command(os.Args[0], x.args(x.server.URL())...)
	cmd.Env, cmd.Dir = append(os.Environ(), processEnv+"=1"), x.dir
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	return cmd, &stdout, &stderr
}

// patience is how long a start may take, on a machine that does much else.
const patience = 3 * time.Minute

func (x *torture) start(fault faulttest.Fault) (e ending) {
	cmd, stdout, stderr := x.command()
	late := time.AfterFunc(patience, func() { _ = cmd.Process.Signal(syscall.SIGQUIT) }) // shows where it hangs
	defer late.Stop()
	if fault.N < 0 {
		e.err = cmd.Run()
	} else {
		e.counts, e.err = faulttest.Run(cmd, x.dir, fault)
	}
	e.stdout, e.stderr = stdout.String(), stderr.String()
	return e
}

// untouched lets nothing fail and sets no trap.
var untouched = faulttest.Fault{N: -1}

// paidTwice is how many calls of the model were made for what had been asked before.
func (x *torture) paidTwice() (calls, again int) {
	seen := map[string]bool{}
	for _, c := range x.server.Calls() {
		if len(c.Messages) == 0 {
			continue
		}
		calls++
		if seen[c.Body] {
			again++
		}
		seen[c.Body] = true
	}
	return calls, again
}

// whole is how a start that nothing happens to must end.
func (x *torture) whole(what string, e ending) (string, bool) {
	if e.err != nil {
		x.t.Errorf("%s: %s: %v\n%s", x.name, what, e.err, e.stderr)
		return "", false
	}
	result, err := x.result(x.dir, e.stdout)
	if err != nil || result == "" {
		x.t.Errorf("%s: %s: no result: %v\n%s", x.name, what, err, e.stderr)
		return "", false
	}
	return result, true
}

// orderly says whether a start ended as a program should: with a result or with a reason, in time and without a crash.
func orderly(e ending) bool {
	if strings.Contains(e.stderr, "goroutine ") || strings.Contains(e.stderr, "panic:") {
		return false
	}
	_, reason, said := strings.Cut("\n"+e.stderr, "\nbmem: ")
	return e.err == nil || said && len(reason) > 10
}

// tally counts what was done, by kind, for the summary.
type tally struct {
	mu sync.Mutex
	n  map[string]int
}

func (y *tally) add(kind string, n int) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.n == nil {
		y.n = map[string]int{}
	}
	y.n[kind] += n
}

// point is an operation that fails.
type point struct {
	fault     faulttest.Fault
	reference string
	victim
}

// Every write, sync, rename and read of a command fails once. The command then ends with its result or with the reason, and
// the same command afterwards ends with the result of one that nothing happened to. No call is paid twice, but for those
// in flight when it stopped.
func TestTortureFaults(t *testing.T) {
	if !faulttest.Supported {
		testenv.Missing(t, "faults cannot be injected on this system")
	}
	modelstest.Path(t, "all-minilm-l6-v2")
	limit, long := tortureTime(t)
	var points []point
	var sum tally
	for _, v := range victims() {
		x := newTorture(t, v)
		e := x.start(faulttest.Fault{})
		reference, ok := x.whole("left alone", e)
		if !ok {
			continue
		}
		for _, kind := range faulttest.Kinds {
			t.Logf("%s: %d of kind %s", v.name, e.counts[kind], kind)
			for n := 1; n <= e.counts[kind]; n++ {
				f := faulttest.Fault{Kind: kind, N: n, Error: syscall.EIO, Stays: n%3 == 0}
				if kind == faulttest.Write && n%2 == 0 {
					f.Error = syscall.ENOSPC
				}
				points = append(points, point{f, reference, v})
			}
		}
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(points), func(i, j int) { points[i], points[j] = points[j], points[i] })
	all := len(points)
	if !long {
		points = points[:min(8, all)]
	}
	until := time.Now().Add(limit)
	next := make(chan point)
	var workers sync.WaitGroup
	for range 2 {
		workers.Go(func() {
			for p := range next {
				t.Run(fmt.Sprintf("%s-%s-%d", p.name, p.fault.Kind, p.fault.N), func(t *testing.T) { p.strike(t, &sum) })
			}
		})
	}
	for _, p := range points {
		if long && time.Now().After(until) {
			sum.add("not reached for lack of time", 1)
			continue
		}
		next <- p
	}
	close(next)
	workers.Wait()
	summarise(t, fmt.Sprintf("faults, of %d points", all), sum.n)
}

// strike lets the operation fail.
func (p point) strike(t *testing.T, sum *tally) {
	x := newTorture(t, p.victim)
	hit := x.start(p.fault)
	sum.add("failed operations: "+string(p.fault.Kind), 1)
	sum.add("commands: "+p.name, 1)
	if !orderly(hit) {
		t.Errorf("%+v: ended with %v\n%s", p.fault, hit.err, hit.stderr)
	}
	before, _ := x.paidTwice()
	if hit.err == nil {
		sum.add("ended: with the result all the same", 1)
		if got, ok := x.whole("struck", hit); ok && got != p.reference {
			t.Errorf("%+v: another result: %.300q, want %.300q\n%s", p.fault, got, p.reference, hit.stderr)
		}
	} else {
		sum.add("ended: refused with the reason", 1)
	}
	again := x.start(untouched)
	if got, ok := x.whole("after "+fmt.Sprint(p.fault)+" ("+lastLine(hit.stderr)+")", again); ok && got != p.reference {
		t.Errorf("after %+v: another result: %.300q, want %.300q", p.fault, got, p.reference)
	}
	calls, twice := x.paidTwice()
	sum.add("payments: calls", calls)
	sum.add("payments: again, in flight at the fault", twice)
	if most := x.inFlight; twice > most || hit.err == nil && calls > before {
		t.Errorf("%+v: %d calls paid twice, at most %d were in flight; %d calls before, %d after\n%s", p.fault, twice, most, before, calls, hit.stderr)
	}
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}

// Commands are killed at random moments, several times each, and then left alone.
func TestTortureKills(t *testing.T) {
	modelstest.Path(t, "all-minilm-l6-v2")
	limit, long := tortureTime(t)
	rounds, kills := 1, 1
	if long {
		rounds, kills = 6, 4 // of 5 commands; one in six ends before its kill
	}
	until := time.Now().Add(limit)
	rng := rand.New(rand.NewPCG(3, 4))
	var sum tally
	for _, v := range victims() {
		x := newTorture(t, v)
		began := time.Now()
		reference, ok := x.whole("left alone", x.start(untouched))
		took := time.Since(began)
		for range rounds {
			if !ok || long && time.Now().After(until) {
				sum.add("not reached for lack of time", kills)
				continue
			}
			x := newTorture(t, v)
			for range kills {
				cmd, _, stderr := x.command()
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Duration(rng.Int64N(int64(took))))
				_ = cmd.Process.Kill() // it may have ended
				_ = cmd.Wait()
				switch signalled := cmd.ProcessState.Sys().(syscall.WaitStatus).Signaled(); {
				case signalled:
					sum.add("kills: "+v.name, 1)
				case cmd.ProcessState.Success():
					sum.add("ended before the kill", 1)
				default:
					t.Errorf("%s: ended by itself: %s", v.name, stderr)
				}
			}
			if got, ok := x.whole("after kills", x.start(untouched)); ok && got != reference {
				t.Errorf("%s: another result after kills: %.300q, want %.300q", v.name, got, reference)
			}
			calls, twice := x.paidTwice()
			sum.add("payments: calls", calls)
			sum.add("payments: again, in flight at a kill", twice)
			if twice > kills*x.inFlight {
				t.Errorf("%s: %d calls paid twice after %d kills with %d in flight", v.name, twice, kills, x.inFlight)
			}
		}
	}
	summarise(t, "kills", sum.n)
}
