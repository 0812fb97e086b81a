package tune

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/internal/backend"
	"github.com/budgetmem/budgetmem/tiers/llm/local/localtest"
)

// childEnv holds the killed of a process that trains instead of testing.
const childEnv = "BUDGETMEM_TEST_TUNE"

// killed is a training in a process of its own.
type killed struct{ Dir, Model string }

func TestMain(m *testing.M) {
	spec := os.Getenv(childEnv)
	if spec == "" {
		os.Exit(m.Run())
	}
	if err := trainChild(spec); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func trainChild(spec string) (err error) {
	var k killed
	if err := json.Unmarshal([]byte(spec), &k); err != nil {
		return err
	}
	be, err := backend.Open("go", nil)
	if err != nil {
		return err
	}
	defer be.Finalize()
	r := smallRun(be, k.Model)
	r.Dir = k.Dir
	r.Config.Epochs, r.Config.CheckpointEvery = 6, 1
	fmt.Println("training")
	_, err = r.Start(context.Background())
	return err
}

// start starts the training and waits until it has opened the model's engine.
func (k killed) start(t *testing.T) *exec.Cmd {
	t.Helper()
	spec, err := json.Marshal(k)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+string(spec))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err == nil {
		_, err = out.Read(make([]byte, 1))
	}
	if err != nil {
		t.Fatal(err)
	}
	return cmd
}

// A training that is killed by SIGKILL at ten random moments ends with the same bytes as one that is not.
func TestKilledRunEndsTheSame(t *testing.T) {
	model := localtest.Tiny(t, "qwen2", 2)
	calm := killed{t.TempDir(), model}
	cmd := calm.start(t)
	began := time.Now()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	want := files(t, calm.Dir)

	rng := rand.New(rand.NewPCG(1, 2))
	torn := killed{t.TempDir(), model}
	kills := 0
	for range 10 {
		cmd := torn.start(t)
		time.Sleep(time.Duration(rng.Float64() * float64(took) / 3))
		if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Fatal(err)
		}
		if err := cmd.Wait(); cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL {
			kills++
		} else if err != nil {
			t.Fatalf("resumed run: %v", err)
		}
	}
	if kills < 5 {
		t.Errorf("only %d starts were killed before their end", kills)
	}
	if err := torn.start(t).Wait(); err != nil {
		t.Fatal(err)
	}
	got := files(t, torn.Dir)
	if names := slices.Sorted(maps.Keys(got)); !slices.Equal(names, slices.Sorted(maps.Keys(want))) {
		t.Errorf("files %v after %d kills", names, kills)
	}
	for name, content := range want {
		if got[name] != content {
			t.Errorf("%s came out otherwise after %d kills", name, kills)
		}
	}
}
