//go:build unix

package run_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/experiments/run"
	"github.com/budgetmem/budgetmem/experiments/run/runtest"
	"github.com/budgetmem/budgetmem/internal/testenv"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

// childEnv makes the test binary do one run and nothing else; it holds a child in JSON.
const childEnv = "BUDGETMEM_TEST_RUN"

// child is a run in a process of its own.
type child struct{ URL, Dir string }

func TestMain(m *testing.M) {
	if spec := os.Getenv(childEnv); spec != "" {
		if err := runChild(spec); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func runChild(spec string) error {
	var c child
	if err := json.Unmarshal([]byte(spec), &c); err != nil {
		return err
	}
	m, _, closeAll, err := runtest.Open(runtest.Rig{URL: c.URL, Dir: c.Dir, Timeout: time.Hour})
	if err != nil {
		return err
	}
	defer closeAll()
	cfg := runtest.Config(filepath.Join(c.Dir, "run"), m)
	cfg.InFlight = 6
	_, err = run.Run(context.Background(), cfg)
	return err
}

// start starts a run in a process of its own; in it everything is as a user's kill -9 would find it.
func (c child) start(t *testing.T) (cmd *exec.Cmd, output *bytes.Buffer) {
	t.Helper()
	spec, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	cmd = exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+string(spec))
	output = &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, output
}

func (c child) predictions(t *testing.T) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(c.Dir, "run", "predictions.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A run that is killed by SIGKILL again and again ends with the same predictions as one that is not, and no reply that
// the endpoint gave is ever asked for a second time.
//
// Before each kill the server stops answering, and waits until the run can do nothing but wait: then every reply it gave
// has been received, and the unanswered calls, which cost nothing, are the only ones that may come again.
func TestKilledRunEndsTheSameAndPaysOnce(t *testing.T) {
	testenv.Slow(t, "starts a run seven times")
	whole := llmtest.New(llmtest.Config{Reply: runtest.Reply})
	defer whole.Close()
	calm := child{URL: whole.URL(), Dir: t.TempDir()}
	cmd, output := calm.start(t)
	if err := cmd.Wait(); err != nil {
		t.Fatalf("uninterrupted run: %v\n%s", err, output)
	}
	want := calm.predictions(t)
	total := whole.Count()
	t.Logf("%d calls", total)

	// left is how many calls the server still answers before it falls silent.
	var left atomic.Int64
	server := llmtest.New(llmtest.Config{Reply: runtest.Reply, Script: func(llmtest.Call) llmtest.Fault {
		if left.Add(-1) < 0 {
			return llmtest.Fault{Kind: llmtest.Hang}
		}
		return llmtest.Fault{}
	}})
	defer server.Close()
	torn := child{URL: server.URL(), Dir: t.TempDir()}
	const kills = 5
	for i := range kills {
		left.Store(int64(total/(kills+2) + i%2)) // the odd one more moves the kill to another step of the pipeline
		cmd, output := torn.start(t)
		waitUntilSilent(t, server, &left)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("start %d ended by itself before the kill: %v\n%s", i+1, err, output)
		}
		if i == kills/2 {
			tear(t, filepath.Join(torn.Dir, "run", "traces.jsonl"))
		}
	}
	left.Store(1 << 40)
	cmd, output = torn.start(t)
	if err := cmd.Wait(); err != nil {
		t.Fatalf("last start: %v\n%s", err, output)
	}
	if got := torn.predictions(t); !bytes.Equal(got, want) {
		t.Errorf("predictions.jsonl of the killed run differs from that of the other:\n%s", firstDifference(got, want))
	}
	answered := map[string]int{}
	for _, call := range server.Calls() {
		if call.Fault.Kind == llmtest.None {
			answered[call.Body]++
		}
	}
	for body, n := range answered {
		if n > 1 {
			t.Errorf("paid %d times for %s", n, body)
		}
	}
	if len(answered) != total {
		t.Errorf("%d different calls were answered, %d in the uninterrupted run", len(answered), total)
	}
}

// waitUntilSilent returns when the server has nothing more to give and no new calls come.
func waitUntilSilent(t *testing.T, s *llmtest.Server, left *atomic.Int64) {
	t.Helper()
	for n, calm, deadline := 0, 0, time.Now().Add(time.Minute); calm < 20; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the run did not get as far as it should")
		}
		if now := s.Count(); left.Load() >= 0 || now != n {
			n, calm = now, 0
		} else {
			calm++
		}
	}
}

// tear cuts the last line in half, as a power cut may.
func tear(t *testing.T, path string) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, info.Size()-20); err != nil {
		t.Fatal(err)
	}
}

func firstDifference(got, want []byte) string {
	a, b := bytes.Split(got, []byte("\n")), bytes.Split(want, []byte("\n"))
	for i := range min(len(a), len(b)) {
		if !bytes.Equal(a[i], b[i]) {
			return fmt.Sprintf("line %d\n%s\nwant\n%s", i+1, a[i], b[i])
		}
	}
	return fmt.Sprintf("%d lines, want %d", len(a), len(b))
}
