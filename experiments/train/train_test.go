package train

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gomlx/compute"

	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/experiments/episodes/episodestest"
	"github.com/budgetmem/budgetmem/experiments/frontier"
	"github.com/budgetmem/budgetmem/internal/backend"
	"github.com/budgetmem/budgetmem/router/portable"
)

// childEnv makes the test program a training in the folder that it names, by the method before the colon.
const childEnv = "TRAIN_TEST_CHILD"

func TestMain(m *testing.M) {
	if spec := os.Getenv(childEnv); spec != "" {
		method, dir, _ := strings.Cut(spec, ":")
		be, err := backend.Open("go", nil)
		if err == nil {
			o := options(be, method, dir)
			o.Progress = func(p Progress) { fmt.Println(p.Seed, p.Epoch) }
			_, err = Run(context.Background(), o)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func replay(task episodestest.Task, n int) *episodes.Replay {
	r, err := episodes.NewReplay(task.File(n), nil)
	if err != nil {
		panic(err) // there are questions
	}
	return r
}

// options is a small training of two seeds.
func options(be compute.Backend, method, dir string) Options {
	settings, err := NewSettings(method)
	if err != nil {
		panic(err) // methods are known
	}
	cfg := settings.Config()
	cfg.Batch, cfg.Minibatch, cfg.Epochs = 8, 8, 4
	if method == Paper {
		cfg.LambdaMin, cfg.LambdaMax = 0.3, 0.3
	}
	return Options{Dir: dir, Settings: settings, Seeds: 2, Backend: be,
		Train: replay(episodestest.Task{Split: "train", Questions: 24, Seed: 1}, 8), Validation: replay(episodestest.Task{Split: "validation", Questions: 10, Seed: 1}, 20),
		Test: replay(episodestest.Task{Split: "test", Questions: 10, Seed: 1}, 20)}
}

func open(t *testing.T) compute.Backend {
	t.Helper()
	be, err := backend.Open("go", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(be.Finalize)
	return be
}

// files returns the content of a training's files that must be the same however often it is killed.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		out[name] = string(bytes.ReplaceAll(data, []byte(dir), []byte("DIR")))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	delete(out, "report.html") // its title is the folder's name
	return out
}

func TestEveryMethodWritesItsFiles(t *testing.T) {
	be := open(t)
	for _, method := range Methods() {
		t.Run(method, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "x")
			o := options(be, method, dir)
			var seen []Progress
			o.Progress = func(p Progress) { seen = append(seen, p) }
			s, err := Run(context.Background(), o)
			if err != nil {
				t.Fatal(err)
			}
			got := files(t, dir)
			for _, name := range []string{"config.json", "summary.json", "seed-42/metrics.jsonl", "seed-43/epochs.jsonl", "seed-42/checkpoints/best.safetensors",
				"seed-42/checkpoints/last.safetensors", "seed-42/checkpoints/epoch-001.safetensors", "seed-43/checkpoints/epoch-004.safetensors"} {
				if got[name] == "" {
					t.Errorf("%s is missing; there are %v", name, slices.Sorted(maps.Keys(got)))
				}
			}
			for _, seed := range s.Seeds {
				if len(seed.Epochs) != 4 || seed.Test["best"].Points == nil || seed.Test["last"].Points == nil {
					t.Errorf("seed %d: %+v", seed.Seed, seed)
				}
				for _, e := range seed.Epochs {
					if e.Value > seed.Epochs[seed.BestEpoch-1].Value {
						t.Errorf("seed %d: epoch %d is better than the best", seed.Seed, e.Epoch)
					}
				}
				if got[fmt.Sprintf("seed-%d/checkpoints/best.safetensors", seed.Seed)] != got[fmt.Sprintf("seed-%d/checkpoints/epoch-%03d.safetensors", seed.Seed, seed.BestEpoch)] {
					t.Errorf("seed %d: best is not the router of epoch %d", seed.Seed, seed.BestEpoch)
				}
			}
			if len(seen) < 8 {
				t.Errorf("told of progress %d times", len(seen))
			}
			var b bytes.Buffer
			if err := s.WriteTable(&b); err != nil || !strings.Contains(b.String(), "best on test") || !strings.Contains(b.String(), "predicted from other traced combinations") {
				t.Errorf("%v\n%s", err, &b)
			}
			// Done is done: the same call changes nothing, another one is refused.
			if _, err := Run(context.Background(), o); err != nil || !maps.Equal(got, files(t, dir)) {
				t.Errorf("a second run changed files, or failed: %v", err)
			}
			o.Settings.Config().Epochs++
			if _, err := Run(context.Background(), o); err == nil || !strings.Contains(err.Error(), "other settings") {
				t.Errorf("a run with other settings: %v", err)
			}
		})
	}
}

// What is learned from traces is close to the best there is, and better than any one combination for all.
func TestLearnsFromTraces(t *testing.T) {
	o := options(open(t), Offline, filepath.Join(t.TempDir(), "x"))
	o.Seeds, o.Settings.Config().Epochs, o.Settings.Config().Batch = 1, 40, 64
	o.Train = replay(episodestest.Task{Split: "train", Questions: 60, Seed: 1}, 6)
	o.Validation, o.Test = replay(episodestest.Task{Split: "validation", Questions: 20, Seed: 1}, 243), replay(episodestest.Task{Split: "test", Questions: 30, Seed: 1}, 243)
	s, err := Run(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	r, err := portable.ReadFile(s.Seeds[0].Routers["best"])
	if err != nil {
		t.Fatal(err)
	}
	res, err := frontier.Compare(context.Background(), frontier.Options{Validation: o.Validation, Test: o.Test, Seed: 42,
		Routers: []frontier.Family{{Name: "offline", Seeds: []*portable.Router{r}}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range res.Entries {
		t.Logf("%s: %.4f", e.Name, e.MeanReturn)
		if e.Name == "offline" && (e.ReturnVersus.Questions[0] <= 0 || e.AreaVersus.Questions[0] <= 0) {
			t.Errorf("the router is not better than the best static assignment: %+v, %+v", e.ReturnVersus, e.AreaVersus)
		}
	}
}

// A training that is killed by SIGKILL at any moment and started again ends with the same files. (In cmd/bmem one that asks live
// is killed, and the calls are counted.)
func TestKilledTrainingEndsTheSame(t *testing.T) {
	// How many lines each start writes at most before it is killed: far from the end, as there are two seeds with four epochs
	// each, with PPO of three steps. None is a kill in start-up.
	for method, kills := range map[string][]int{PPO: {0, 6, 1, 6, 1}, Offline: {0, 2, 2}} {
		t.Run(method, func(t *testing.T) {
			// start starts a training, which writes a line for each step and epoch.
			start := func(dir string) (*exec.Cmd, *bufio.Scanner) {
				cmd := exec.Command(os.Args[0])
				cmd.Env = append(os.Environ(), childEnv+"="+method+":"+dir)
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
			run := func(dir string) {
				cmd, lines := start(dir)
				for lines.Scan() {
				}
				if err := cmd.Wait(); err != nil {
					t.Fatal(err)
				}
			}
			calm, torn := filepath.Join(t.TempDir(), "x"), filepath.Join(t.TempDir(), "x")
			run(calm)
			rng := rand.New(rand.NewPCG(1, 2))
			for n, most := range kills {
				cmd, lines := start(torn)
				for range min(most, 1+rng.IntN(6)) {
					lines.Scan()
				}
				time.Sleep(time.Duration(rng.IntN(20)) * time.Millisecond)
				_ = cmd.Process.Kill() // it may have ended, which fails the test
				if _ = cmd.Wait(); cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
					t.Fatalf("start %d ended before it was killed", n+1)
				}
			}
			run(torn)
			want, got := files(t, calm), files(t, torn)
			for name, content := range want {
				if got[name] != content {
					t.Errorf("%s differs", name)
				}
			}
			if len(got) != len(want) {
				t.Errorf("files %v, want %v", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
			}
		})
	}
}

func TestRefusesAFolderInUse(t *testing.T) {
	o := options(open(t), PPO, filepath.Join(t.TempDir(), "x"))
	refused := false
	o.Progress = func(Progress) {
		if refused {
			return
		}
		again := o
		again.Progress = nil
		if _, err := Run(context.Background(), again); err == nil || !strings.Contains(err.Error(), "in use by another") {
			t.Errorf("error %v", err)
		}
		refused = true
	}
	if _, err := Run(context.Background(), o); err != nil || !refused {
		t.Error(err)
	}
}

func TestRefusesQuestionsUsedTwice(t *testing.T) {
	o := options(open(t), PPO, filepath.Join(t.TempDir(), "x"))
	o.Test = o.Validation
	if _, err := Run(context.Background(), o); err == nil || !strings.Contains(err.Error(), "is in both") {
		t.Errorf("error %v", err)
	}
	o.Test, o.NoTest = nil, "no traces"
	other := episodestest.Task{Split: "validation", Questions: 3, Seed: 2}.File(3)
	other.Embedder = "other"
	o.Validation, _ = episodes.NewReplay(other, nil)
	if _, err := Run(context.Background(), o); err == nil || !strings.Contains(err.Error(), "embedder other") {
		t.Errorf("error %v", err)
	}
	if _, err := NewSettings("best"); err == nil {
		t.Error("an unknown method was taken")
	}
}
