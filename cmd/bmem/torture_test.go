//go:build unix

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/bmem"
	"github.com/budgetmem/budgetmem/datasets"
	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/internal/faulttest"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

// tortureEnv names the folder where the long form of the torture tests notes what it has done, so that it can be continued;
// `make torture` sets it. Without it a few points of each kind are tried.
const tortureEnv = "BUDGETMEM_TORTURE"

// victim is a command line that something happens to.
type victim struct {
	name string
	// args are its arguments at an endpoint; it runs in a folder of its own.
	args func(url string) []string
	// result is what it must end with, read from its output and its folder.
	result func(dir, stdout string) (string, error)
	// inFlight bounds how many calls of its models are in flight at one time.
	inFlight int
	// before are command lines that make what it works on.
	before func(url string) [][]string
}

// victims are commands whose every operation fails once.
func victims() []victim {
	answer := func(_, stdout string) (string, error) {
		var a bmem.Answer
		if err := json.Unmarshal([]byte(stdout[max(0, strings.Index(stdout, "{")):]), &a); err != nil {
			return "", err
		}
		return a.Text, nil
	}
	return []victim{
		{name: "ask", args: func(url string) []string {
			return append([]string{"ask", "--json", "--policy", "high", "--memory", "talk.jsonl", "--endpoint", url, "--model", "m"}, atEndpoint(url, "Where do they meet?")...)
		}, result: answer, inFlight: 3},
		{name: "add", args: addLong, result: func(dir, _ string) (string, error) { return remembered(dir, "long") }},
		{name: "eval", args: func(url string) []string { return append([]string{"eval", "--policy", "mid"}, benchmark(url)...) }, result: func(dir, _ string) (string, error) {
			return content(dir, "runs/x/predictions.jsonl")
		}, inFlight: 2 * 3},
		{name: "collect", args: func(url string) []string {
			return append([]string{"traces", "collect", "--design", "random:2", "--out", "out.jsonl.gz"}, benchmark(url)...)
		}, result: func(dir, _ string) (string, error) { return asked(filepath.Join(dir, "out.jsonl.gz")) }, inFlight: 2 * 3},
		{name: "train", args: trainMade, result: func(dir, _ string) (string, error) {
			return content(dir, "runs/x/seed-42/checkpoints/best.safetensors")
		}},
	}
}

// moreVictims are commands that are killed only, as they make a file or change a memory in steps that others make too.
func moreVictims() []victim {
	trained := func(url string) [][]string { return [][]string{trainMade(url)} }
	return []victim{
		{name: "expire", before: func(url string) [][]string { return [][]string{addLong(url)} }, args: func(string) []string {
			return []string{"memory", "expire", "long", "--at", "2199-12-31T00:00:00Z", "--cache", "cache"}
		}, result: func(dir, _ string) (string, error) { return remembered(dir, "long") }},
		{name: "edit", before: func(url string) [][]string { return [][]string{addLong(url)} }, args: func(url string) []string {
			return append([]string{"memory", "edit", "long", "t7"}, atEndpoint(url, "The pond is new.")...)
		}, result: func(dir, _ string) (string, error) { return remembered(dir, "long") }},
		{name: "frontier", args: func(string) []string {
			return []string{"frontier", "--validation-traces", "made/validation.jsonl.gz", "--test-traces", "made/test.jsonl.gz", "--json-file", "frontier.json", "--html", "frontier.html"}
		}, result: func(dir, _ string) (string, error) { return content(dir, "frontier.json") }},
		{name: "router export", before: trained, args: func(string) []string { return []string{"router", "export", "runs/x", "router.safetensors"} }, result: func(dir, _ string) (string, error) {
			return content(dir, "router.safetensors")
		}},
		{name: "traces select", args: func(string) []string {
			return []string{"traces", "select", "made/train.jsonl.gz", "--tiers", "low,high", "--out", "two.jsonl.gz"}
		}, result: func(dir, _ string) (string, error) { return asked(filepath.Join(dir, "two.jsonl.gz")) }},
	}
}

// atEndpoint are the flags of a command whose models are at an endpoint, with more behind them.
func atEndpoint(url string, more ...string) []string {
	return append([]string{"--backend", "go", "--embedder", "emb@" + url, "--prices", "prices.yaml", "--cache", "cache"}, more...)
}

// benchmark are those of a command that asks questions of a data set.
func benchmark(url string) []string {
	return atEndpoint(url, "--endpoint", url, "--model", "m", "--dataset", "./mine", "--questions", "1", "--split", "validation", "--runs", "runs", "--name", "x", "--in-flight", "2", "--max-dollars", "5")
}

func addLong(url string) []string {
	return append([]string{"memory", "add", "--json", "long.jsonl"}, atEndpoint(url)...)
}

func trainMade(string) []string {
	return []string{"train", "--backend", "go", "--seeds", "1", "--method", "ppo", "--set", "epochs=2", "--set", "batch=8", "--set", "minibatch=8", "--runs", "runs", "--name", "x",
		"--traces", "made/train.jsonl.gz", "--validation-traces", "made/validation.jsonl.gz"}
}

func content(dir, name string) (string, error) {
	data, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
	return string(data), err
}

// remembered lists the turns of a memory, after it was read in full.
func remembered(dir, memory string) (out string, err error) {
	err = withArchive(context.Background(), whereFlags{cache: filepath.Join(dir, "cache")}, func(a *bmem.Archive) error {
		if err := a.Check(context.Background()); err != nil {
			return err
		}
		for t, err := range a.AllTurns(context.Background(), memory) {
			if err != nil {
				return err
			}
			out += fmt.Sprintln(t.Turn, t.Expires)
		}
		return nil
	})
	return out, err
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
	failed bool
}

// newTorture makes a folder with what the victim works on. The caller closes it.
func newTorture(t *testing.T, v victim) *torture {
	t.Helper()
	dir, err := os.MkdirTemp("", "bmem-torture-")
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		t.Fatal(err)
	}
	x := &torture{victim: v, t: t, dir: dir, server: llmtest.New(llmtest.Config{Reply: markedReply})}
	var long strings.Builder
	for i := range 40 {
		fmt.Fprintf(&long, `{"id": "t%d", "session": "%d", "speaker": "Omar", "text": "Line number %d about the garden, which has many flowers and some trees."}`+"\n", i, i/10, i)
	}
	files := map[string]string{"talk.jsonl": meeting, "long.jsonl": long.String(), "prices.yaml": "prices:\n- {model: m, in: 1, out: 2}\n- {model: emb, in: 0.1, out: 0}\n"}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, err = datasets.Quickstart(filepath.Join(dir, "mine"))
	if err := errors.Join(err, writeTraces(filepath.Join(dir, "made"))); err != nil {
		t.Fatal(err)
	}
	if v.before != nil {
		for _, args := range v.before(x.server.URL()) {
			if e := x.run(args, untouched, nil); e.err != nil {
				t.Fatalf("%q: %v\n%s", args, e.err, e.stderr)
			}
		}
	}
	return x
}

// close forgets it, and keeps the folder for a look if something was wrong.
func (x *torture) close() {
	x.server.Close()
	if x.failed {
		x.t.Logf("%s: see %s", x.name, x.dir)
		return
	}
	if err := os.RemoveAll(x.dir); err != nil {
		x.t.Error(err)
	}
}

// errorf reports what did not hold.
func (x *torture) errorf(format string, args ...any) {
	x.t.Helper()
	x.failed = true
	x.t.Errorf(x.name+": "+format, args...)
}

// ending is how a start of the victim ended.
type ending struct {
	err            error // of the process
	stdout, stderr string
	counts         faulttest.Counts
}

func (x *torture) command(args []string) (*exec.Cmd, *bytes.Buffer, *bytes.Buffer) {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env, cmd.Dir = append(os.Environ(), processEnv+"=1"), x.dir
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	return cmd, &stdout, &stderr
}

// patience is how long a start may take, on a machine that does much else.
const patience = 5 * time.Minute

// start starts the victim with a fault.
func (x *torture) start(fault faulttest.Fault) ending {
	return x.run(x.args(x.server.URL()), fault, nil)
}

// run starts a process with a command line and a fault. The process first gives another torture's command again, in whose folder
// no fault strikes: starting a process takes longer than most commands.
func (x *torture) run(args []string, fault faulttest.Fault, first *again) (e ending) {
	cmd, stdout, stderr := x.command(args)
	if first != nil {
		cmd.Env = append(cmd.Env, firstEnv+"="+first.path)
	}
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

// firstEnv names a file with what the process of a command does before it, an again.
const firstEnv = "BMEM_TEST_FIRST"

// again is a command line that is given once more, in a process that another command is then run in.
type again struct {
	path           string
	Dir            string
	Args           []string
	Ended          bool
	Error          string
	Stdout, Stderr string
}

// write tells the process what to do.
func (g *again) write() error {
	data, err := json.Marshal(g)
	if err != nil {
		return err
	}
	return os.WriteFile(g.path, data, 0o600)
}

// read returns how it ended.
func (g *again) read() (ending, error) {
	data, err := os.ReadFile(g.path)
	if err == nil {
		err = json.Unmarshal(data, g)
	}
	e := ending{stdout: g.Stdout, stderr: g.Stderr}
	if !g.Ended {
		err = errors.Join(err, errors.New("the command did not end"))
	}
	if g.Error != "" {
		e.err = errors.New(g.Error)
	}
	return e, err
}

// doFirst does what firstEnv says.
func doFirst() error {
	path := os.Getenv(firstEnv)
	if path == "" {
		return nil
	}
	g := again{path: path}
	data, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(data, &g)
	}
	if err != nil {
		return err
	}
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	if err := os.Chdir(g.Dir); err != nil {
		return err
	}
	var stdout, stderr bytes.Buffer
	root := newRoot()
	root.SetArgs(g.Args)
	root.SetOut(&stdout)
	root.SetErr(&stderr)
	if err := root.Execute(); err != nil {
		g.Error = err.Error()
	}
	g.Ended, g.Stdout, g.Stderr = true, stdout.String(), stderr.String()
	return errors.Join(g.write(), os.Chdir(dir))
}

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
		x.errorf("%s: %v\n%s", what, e.err, e.stderr)
		return "", false
	}
	result, err := x.result(x.dir, e.stdout)
	if err != nil || result == "" {
		x.errorf("%s: no result: %v\n%s", what, err, e.stderr)
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
