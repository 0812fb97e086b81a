//go:build unix

package main

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/internal/models/modelstest"
)

// Commands are killed at random moments, several times each, and then left alone.
func TestTortureKills(t *testing.T) {
	modelstest.Path(t, "all-minilm-l6-v2")
	done := openDiary(t, "kills")
	tried, rounds, kills := victims(), 1, 1
	if done.long() {
		tried, rounds, kills = append(tried, moreVictims()...), 2, 5
	}
	rng := rand.New(rand.NewPCG(3, 4))
	for _, v := range tried {
		if done.has(fmt.Sprintf("%s, round %d", v.name, rounds)) {
			continue
		}
		x := newTorture(t, v)
		began := time.Now()
		reference, ok := x.whole("left alone", x.start(untouched))
		took := time.Since(began)
		x.close()
		for round := 1; ok && round <= rounds; round++ {
			if name := fmt.Sprintf("%s, round %d", v.name, round); !done.has(name) {
				killed(t, v, done, name, kills, took, reference, rng)
			}
		}
	}
	done.summarise(t, fmt.Sprintf("kills: %d commands, %d kills each", len(tried), rounds*kills))
}

// killed kills a command until so many kills have met it, which starts it as often at least, and then leaves it alone.
func killed(t *testing.T, v victim, done *diary, name string, kills int, took time.Duration, reference string, rng *rand.Rand) {
	x := newTorture(t, v)
	defer x.close()
	sum := map[string]int{}
	for met := 0; met < kills; {
		cmd, _, stderr := x.command(x.args(x.server.URL()))
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(rng.Int64N(int64(took))))
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
		switch signalled := cmd.ProcessState.Sys().(syscall.WaitStatus).Signaled(); {
		case signalled:
			met++
			sum["kills: "+v.name]++
		case cmd.ProcessState.Success():
			sum["ended before the kill"]++
			took = max(took*9/10, 50*time.Millisecond) // what is done already is quicker the next time
		default:
			x.errorf("ended by itself: %s", stderr)
			return
		}
	}
	got, ok := x.whole("after kills", x.start(untouched))
	if ok && got == reference {
		sum["left alone afterwards: the same result"]++
	} else if ok {
		x.errorf("another result after kills: %.300q, want %.300q", got, reference)
		ok = false
	}
	calls, twice := x.paidTwice()
	sum["payments: calls"] += calls
	sum["payments: again, in flight at a kill"] += twice
	if twice > kills*x.inFlight {
		x.errorf("%d calls paid twice after %d kills with %d in flight", twice, kills, x.inFlight)
	} else if ok {
		done.note(t, name, sum)
	}
}
