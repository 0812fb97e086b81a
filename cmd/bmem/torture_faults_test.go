//go:build unix

package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/budgetmem/budgetmem/internal/faulttest"
	"github.com/budgetmem/budgetmem/internal/models/modelstest"
	"github.com/budgetmem/budgetmem/internal/testenv"
)

// point is an operation that fails.
type point struct {
	fault     faulttest.Fault
	reference string
	victim
}

func (p point) String() string { return fmt.Sprintf("%s-%s-%d", p.name, p.fault.Kind, p.fault.N) }

// Every write, sync, rename and read of a command fails once. The command then ends with its result or with the reason, and
// the same command afterwards ends with the result of one that nothing happened to. No call is paid twice, but for those
// in flight when it stopped.
func TestTortureFaults(t *testing.T) {
	if !faulttest.Supported {
		testenv.Missing(t, "faults cannot be injected on this system")
	}
	modelstest.Path(t, "all-minilm-l6-v2")
	done := openDiary(t, "faults")
	var points []point
	for _, v := range victims() {
		points = append(points, pointsOf(t, v)...)
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(points), func(i, j int) { points[i], points[j] = points[j], points[i] })
	all := len(points)
	if !done.long() {
		points = points[:min(8, all)]
	}
	next := make(chan point)
	var workers sync.WaitGroup
	for range 2 {
		workers.Go(func() {
			w := struckOnes{t: t, diary: done, path: filepath.Join(t.TempDir(), "first.json")}
			for p := range next {
				w.strike(p)
			}
			w.last()
		})
	}
	for _, p := range points {
		if !done.has(p.String()) {
			next <- p
		}
	}
	close(next)
	workers.Wait()
	done.summarise(t, fmt.Sprintf("faults: %d points", all))
}

// pointsOf counts the operations of a command that is left alone.
func pointsOf(t *testing.T, v victim) []point {
	x := newTorture(t, v)
	defer x.close()
	e := x.start(faulttest.Fault{})
	reference, ok := x.whole("left alone", e)
	if !ok {
		return nil
	}
	var points []point
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
	return points
}

// struckOnes strikes one command after the other. Each process first gives the command before once more, and is then struck itself,
// so that a fault meets a fresh process and its consequences meet another.
type struckOnes struct {
	t     *testing.T
	diary *diary
	path  string // of what the next process does first
	open  *struck
}

// struck is a command that an operation failed for.
type struck struct {
	*torture
	at     point
	hit    ending
	before int // calls of the model until it ended
}

func (w *struckOnes) strike(p point) {
	x := newTorture(w.t, p.victim)
	first := w.first()
	hit := x.run(x.args(x.server.URL()), p.fault, first)
	if !orderly(hit) {
		x.errorf("%s, %+v: ended with %v\n%s", p, p.fault, hit.err, hit.stderr)
	}
	if hit.err == nil {
		if got, ok := x.whole(fmt.Sprint("struck at ", p), hit); ok && got != p.reference {
			x.errorf("%s, %+v: another result: %.300q, want %.300q\n%s", p, p.fault, got, p.reference, hit.stderr)
		}
	}
	if first != nil {
		e, err := first.read()
		if err != nil {
			w.open.errorf("%s, given again: %v\n%s", w.open.at, err, hit.stderr)
		}
		w.settle(e)
	}
	calls, _ := x.paidTwice()
	w.open = &struck{x, p, hit, calls}
}

// first is the command that the next process gives once more.
func (w *struckOnes) first() *again {
	if w.open == nil {
		return nil
	}
	g := &again{path: w.path, Dir: w.open.dir, Args: w.open.args(w.open.server.URL())}
	if err := g.write(); err != nil {
		w.t.Error(err)
		return nil
	}
	return g
}

// last gives the last command once more, in a process of its own.
func (w *struckOnes) last() {
	if w.open != nil {
		w.settle(w.open.start(untouched))
	}
}

// settle looks at how a command ended that was struck before.
func (w *struckOnes) settle(again ending) {
	s := w.open
	defer s.close()
	sum := map[string]int{"commands: " + s.name: 1}
	if s.hit.counts[s.at.fault.Kind] >= s.at.fault.N {
		sum["failed operations: "+string(s.at.fault.Kind)] = 1
	} else {
		sum["nothing failed: fewer operations than when they were counted"] = 1 // how often SQLite writes depends on time
	}
	outcome := "ended: refused with the reason"
	if s.hit.err == nil {
		outcome = "ended: with the result all the same"
	}
	sum[outcome] = 1
	got, ok := s.whole(fmt.Sprintf("after %s, %+v (%s)", s.at, s.at.fault, lastLine(s.hit.stderr)), again)
	if ok && got == s.at.reference {
		sum["given again: the same result"] = 1
	} else if ok {
		s.errorf("%s: after %+v: another result: %.300q, want %.300q", s.at, s.at.fault, got, s.at.reference)
	}
	calls, twice := s.paidTwice()
	sum["payments: calls"], sum["payments: again, in flight at the fault"] = calls, twice
	most := s.inFlight
	if twice > most || s.hit.err == nil && calls > s.before {
		s.errorf("%s, %+v: %d calls paid twice, at most %d were in flight; %d calls before, %d after\n%s", s.at, s.at.fault, twice, most, s.before, calls, s.hit.stderr)
	}
	if !s.failed {
		w.diary.note(w.t, s.at.String(), sum)
	}
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}

// A process does first what it is told, and what fails then strikes its own command only.
func TestDoFirst(t *testing.T) {
	x := newTorture(t, moreVictims()[4])
	defer x.close()
	y := newTorture(t, moreVictims()[4])
	defer y.close()
	g := &again{path: filepath.Join(t.TempDir(), "first.json"), Dir: x.dir, Args: x.args("")}
	if err := g.write(); err != nil {
		t.Fatal(err)
	}
	fault := faulttest.Fault{Kind: faulttest.Rename, N: 1, Error: syscall.EIO}
	if !faulttest.Supported {
		fault = untouched
	}
	e := y.run(y.args(""), fault, g)
	if faulttest.Supported && (e.err == nil || !strings.Contains(e.stderr, syscall.EIO.Error())) {
		t.Errorf("%v\n%s", e.err, e.stderr)
	}
	if first, err := g.read(); err != nil || first.err != nil {
		t.Errorf("%v, %v", err, first)
	}
	if _, err := os.Stat(filepath.Join(x.dir, "two.jsonl.gz")); err != nil {
		t.Error(err)
	}
}
