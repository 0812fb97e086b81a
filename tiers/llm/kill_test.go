package llm_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

const killQuestions = 120

// TestMain lets the test binary play the program that is killed.
func TestMain(m *testing.M) {
	if url := os.Getenv("LLM_TEST_CHILD_URL"); url != "" {
		play := map[string]func(url, dir string) error{"": child, "cache": cacheChild, "another": anotherChild}[os.Getenv("LLM_TEST_CHILD")]
		if err := play(url, os.Getenv("LLM_TEST_CHILD_DIR")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// child asks all questions, eight at a time, and prints the number of each whose reply it has used.
func child(url, dir string) error {
	cache, err := llm.OpenCache(filepath.Join(dir, "replies.db"))
	if err != nil {
		return err
	}
	ledger, err := llm.OpenLedger(filepath.Join(dir, "spend.db"), 1)
	if err != nil {
		return err
	}
	askAll(url, llm.StackOptions{Cache: cache, Ledger: ledger})
	return nil
}

func askAll(url string, o llm.StackOptions) {
	t := &childTB{}
	o.Retry = quick
	c := stack(t, endpoint(t, url, time.Minute), o)
	inFlight(killQuestions, 8, func(i int) {
		resp, err := c.Chat(context.Background(), question(i))
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Printf("%d %q\n", i, resp.Text)
	})
}

// childTB stands in for a test where there is none.
type childTB struct{ testing.TB }

func (*childTB) Helper()           {}
func (*childTB) Fatal(args ...any) { panic(fmt.Sprint(args...)) }

func startChild(t *testing.T, s *llmtest.Server, dir string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "LLM_TEST_CHILD_URL="+s.URL(), "LLM_TEST_CHILD_DIR="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewScanner(out)
}

// A program killed with SIGKILL again and again, in the middle of its calls, never asks again what it has had a reply to, ends
// with the same replies as if it had not been killed, and its ledger knows of every dollar that was billed.
func TestNothingIsPaidTwiceAcrossKills(t *testing.T) {
	s := startServer(t, llmtest.Config{Reply: reply, Latency: 5 * time.Millisecond})
	dir := t.TempDir()
	used := map[string]string{} // replies that some child has used
	kills, total := 0, 0
	for finished := false; !finished; {
		before := s.Count()
		cmd, lines := startChild(t, s, dir)
		fresh := 0
		for lines.Scan() {
			id, text, _ := strings.Cut(lines.Text(), " ")
			if old, ok := used[id]; ok && old != text {
				t.Errorf("question %s: first %s, then %s", id, old, text)
			} else if !ok {
				fresh++
			}
			used[id] = text
			if fresh == 25 && kills < 4 {
				cmd.Process.Kill()
				kills++
			}
		}
		err := cmd.Wait()
		finished = err == nil
		if !finished && kills < 4 && fresh < 25 {
			t.Fatalf("the child died by itself: %v", err)
		}
		total++
		t.Logf("run %d: %d calls, %d replies used so far", total, s.Count()-before, len(used))
	}
	if len(used) != killQuestions || kills == 0 {
		t.Fatalf("%d of %d questions answered, %d kills", len(used), killQuestions, kills)
	}

	// A reply may be on its way when the axe falls: at most the eight in flight, each kill, are asked again.
	asked := map[string]int{}
	again := 0
	for _, c := range s.Calls() {
		if asked[c.Body]++; asked[c.Body] > 1 {
			again++
		}
	}
	if again > 8*kills {
		t.Errorf("%d calls were made again after %d kills with 8 in flight", again, kills)
	}
	count := s.Count()
	cmd, lines := startChild(t, s, dir)
	for lines.Scan() {
	}
	if err := cmd.Wait(); err != nil || s.Count() != count {
		t.Errorf("one more run made %d calls, want none (%v)", s.Count()-count, err)
	}

	ledger, err := llm.OpenLedger(filepath.Join(dir, "spend.db"), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer ledger.Close()
	b := ledger.Balance()
	t.Logf("%d kills, %d calls for %d questions, bill $%.6f, %+v", kills, s.Count(), killQuestions, float64(bill(s))/1e12, b)
	if float64(bill(s))/1e12 > b.Spent+b.Uncertain+1e-12 {
		t.Errorf("the bill is $%v, the ledger knows of %+v", float64(bill(s))/1e12, b)
	}
}
