package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/bmem/setup"
	"github.com/budgetmem/budgetmem/bmem/setup/inprocess"
	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/experiments/episodes/episodestest"
	"github.com/budgetmem/budgetmem/experiments/frontier"
	"github.com/budgetmem/budgetmem/internal/models/modelstest"
	"github.com/budgetmem/budgetmem/kernel/chart"
	"github.com/budgetmem/budgetmem/router"
	"github.com/budgetmem/budgetmem/router/portable"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

// madeUp saves traces of made-up questions and opens them.
func madeUp(t *testing.T) *Benchmark {
	t.Helper()
	task := func(split string, questions int, seed uint64) *episodes.File {
		return episodestest.Task{Split: split, Questions: questions, Seed: seed}.File(243)
	}
	made := &Benchmark{Train: task("train", 4, 1), Validation: task("validation", 3, 2), Test: task("test", 6, 3)}
	if err := made.Save(filepath.Join(t.TempDir(), "made-up")); err != nil {
		t.Fatal(err)
	}
	opened, err := Open(made.Folder)
	if err != nil {
		t.Fatal(err)
	}
	return opened
}

// always is a router whose every decision is the same tier, whatever it sees.
func always(t *testing.T, tier int) frontier.Family {
	t.Helper()
	const dim, hidden, actor, tiers = episodestest.Dim, 2, 2, 3
	w := portable.Weights{Query: make([]float32, dim*hidden), Memory: make([]float32, dim*hidden), Lambda: make([]float32, hidden), Module: make([]float32, 5*hidden),
		Encoder: make([]float32, hidden*hidden), EncoderBias: make([]float32, hidden), Actor: make([]float32, hidden*actor), ActorBias: make([]float32, actor),
		Logits: make([]float32, actor*tiers), LogitsBias: make([]float32, tiers)}
	w.LogitsBias[tier] = 1
	r, err := portable.New(portable.Info{Dim: dim, Embedder: "made-up@1", Modules: episodestest.Space(), Lambda: portable.Range{Min: 0, Max: 1}}, w)
	if err != nil {
		t.Fatal(err)
	}
	return frontier.Family{Name: "always", Seeds: []*portable.Router{r}}
}

func TestPath(t *testing.T) {
	if got, err := os.ReadFile(Path("go.mod")); err != nil || !strings.HasPrefix(string(got), "module github.com/budgetmem/budgetmem\n") {
		t.Errorf("go.mod is not found from a package's folder: %v", err)
	}
	t.Chdir(t.TempDir())
	if err := os.WriteFile("go.mod", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := Path("go.mod"); got != "go.mod" {
		t.Errorf("%s; what lies in the working folder comes first", got)
	}
	elsewhere := t.TempDir()
	t.Setenv(HomeEnv, elsewhere)
	if got, err := filepath.Abs(Path("traces/x")); err != nil || got != filepath.Join(elsewhere, "traces", "x") {
		t.Errorf("%s, %v; want the configured folder", got, err)
	}
}

func TestOpenSaysWhatIsMissing(t *testing.T) {
	made := madeUp(t)
	if err := os.Remove(filepath.Join(made.Folder, "test.jsonl.gz")); err != nil {
		t.Fatal(err)
	}
	_, err := Open(made.Folder)
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "--split test") {
		t.Errorf("error %v", err)
	}
	if err := os.Rename(filepath.Join(made.Folder, "train.jsonl.gz"), filepath.Join(made.Folder, "test.jsonl.gz")); err != nil {
		t.Fatal(err)
	}
	if err := made.Train.WriteFile(filepath.Join(made.Folder, "train.jsonl.gz")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(made.Folder); err == nil || !strings.Contains(err.Error(), "holds traces of the train split") {
		t.Errorf("error %v", err)
	}
}

// Policies that are not trained need the test questions alone.
func TestOpenTest(t *testing.T) {
	made := madeUp(t)
	want, err := made.Uniform(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(made.Folder, "train.jsonl.gz")); err != nil {
		t.Fatal(err)
	}
	opened, err := OpenTest(made.Folder)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := opened.Uniform(t.Context()); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("uniform tiers %v, %v; with the training traces there, %v", got, err, want)
	}
	// A tier that one question lacks is not told of.
	first := opened.Test.Episodes[0].ID
	opened.Test.Episodes = slices.DeleteFunc(opened.Test.Episodes, func(tr router.Episode) bool {
		return tr.ID == first && slices.Equal(tr.Choices, []int{1, 1, 1, 1, 1})
	})
	if got, err := opened.Uniform(t.Context()); err != nil || !reflect.DeepEqual(got, []chart.Family{want[0], want[2]}) {
		t.Errorf("uniform tiers %v, %v; mid is not traced of all questions", got, err)
	}
	if err := os.Remove(filepath.Join(made.Folder, "test.jsonl.gz")); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenTest(made.Folder); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}

func TestOnly(t *testing.T) {
	made := madeUp(t)
	two, err := made.Only("low", "high")
	if err != nil {
		t.Fatal(err)
	}
	if got := two.Train.Stats(); got.Episodes != 4*32 || got.Combinations != 32 {
		t.Errorf("%d traces of %d combinations", got.Episodes, got.Combinations)
	}
	if got := two.Test.Space[4].Tiers; !slices.Equal(got, []string{"low", "high"}) {
		t.Errorf("tiers %v", got)
	}
	// The same combination earns the same by its new numbers.
	for _, tr := range two.Test.Episodes {
		old := slices.Clone(tr.Choices)
		for m := range old {
			old[m] *= 2
		}
		at := slices.IndexFunc(made.Test.Episodes, func(o router.Episode) bool { return o.ID == tr.ID && slices.Equal(o.Choices, old) })
		if at < 0 || made.Test.Episodes[at].Score != tr.Score {
			t.Fatalf("%s %v is not the trace %v", tr.ID, tr.Choices, old)
		}
	}
	if got := made.Test.Space[4].Tiers; len(got) != 3 {
		t.Errorf("the traces themselves now have the tiers %v", got)
	}
	if _, err := made.Only("none"); err == nil {
		t.Error("there are no traces without tiers")
	}
}

func TestCompare(t *testing.T) {
	made := madeUp(t)
	family := always(t, 2)
	r, err := made.Compare(t.Context(), family)
	if err != nil {
		t.Fatal(err)
	}
	beside, err := Beside(r, "locomo", "Llama-3.3-70B-Instruct")
	if err != nil {
		t.Fatal(err)
	}
	text := beside.Title + beside.Table().Text()
	for _, want := range []string{"hollow: Table 1 of arXiv 2602.06025, Llama-3.3-70B-Instruct", "uniform low", "always", "oracle", "BudgetMem-CAP"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if _, err := Beside(r, "locomo", "nobody"); err == nil {
		t.Error("nothing is published of nobody")
	}
	shares, err := Shares(r, "always", 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	rows := shares.Table().Rows
	if len(rows) != 4 || len(rows[0]) != 1+5*2 || rows[3][0] != "high" || rows[3][1] != "1.000" || rows[1][1] != "0.000" {
		t.Errorf("shares %v", rows)
	}
	for _, wrong := range []func() error{
		func() error { _, err := Shares(r, "nobody", 0); return err },
		func() error { _, err := Shares(r, "always", 0.123); return err },
	} {
		if wrong() == nil {
			t.Error("no error")
		}
	}
}

// fixed replaces one module's tier, as an ablation of 05_ablations does.
type fixed struct{ router.Policy }

func (f fixed) Decide(ctx context.Context, s router.State) (int, error) {
	if s.Module == 0 {
		return 0, nil
	}
	return f.Policy.Decide(ctx, s)
}

func TestCurve(t *testing.T) {
	made := madeUp(t)
	uniform, err := made.Uniform(t.Context())
	if err != nil || len(uniform) != 3 {
		t.Fatalf("%v, %v", uniform, err)
	}
	all, err := made.Curve(t.Context(), "all", always(t, 2), nil)
	if err != nil {
		t.Fatal(err)
	}
	high := uniform[2].Points[0]
	if p := all.Points[0]; p.Score != high.Score || p.Dollars != high.Dollars || p.Name != "λ 0" || len(all.Points) != len(frontier.DefaultLambdas()) {
		t.Errorf("%d points, the first %+v; want %+v", len(all.Points), p, high)
	}
	some, err := made.Curve(t.Context(), "filter low", always(t, 2), func(p router.Policy) router.Policy { return fixed{p} })
	if err != nil {
		t.Fatal(err)
	}
	if got, want := high.Dollars-some.Points[0].Dollars, 15e-4; got < want-1e-9 || got > want+1e-9 {
		t.Errorf("a low filter saves $%g, want $%g", got, want)
	}
}

func TestByCategory(t *testing.T) {
	made := madeUp(t)
	rows, err := made.Rows(always(t, 0), 0.5)
	if err != nil {
		t.Fatal(err)
	}
	c, err := made.ByCategory(t.Context(), rows)
	if err != nil {
		t.Fatal(err)
	}
	got := c.Table().Rows
	if fmt.Sprint(got[0]) != "[f1 kind 0 (3) kind 1 (3)]" || got[1][0] != "uniform low" || got[4][0] != "always λ 0.5" || got[4][1] != got[1][1] {
		t.Errorf("table %v", got)
	}
}

func TestTables(t *testing.T) {
	questions, err := Questions(t.Context(), "locomo")
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(questions.Rows[len(questions.Rows)-1]); got != "[all 885 341 314]" || !strings.Contains(questions.Title, "CC BY-NC 4.0") {
		t.Errorf("%s: %s", questions.Title, got)
	}
	tiers, err := Tiers("implementation")
	if err != nil || !slices.Equal(tiers.Rows[1], []string{"filter", "low", "keywords", "-", "-"}) {
		t.Errorf("%v, %v", tiers.Rows, err)
	}
	for _, broken := range []func() (chart.Table, error){
		func() (chart.Table, error) { return Questions(t.Context(), "lokomo") },
		func() (chart.Table, error) { return Tiers("implementatoin") },
	} {
		if _, err := broken(); err == nil {
			t.Error("no error")
		}
	}
	if got := madeUp(t).Table().Rows; len(got) != 4 || fmt.Sprint(got[3][:4]) != "[test 6 1458 243 to 243]" {
		t.Errorf("%v", got)
	}
}

// program puts a script in the place of the program bmem, on the PATH of a working folder that has bin/bmem.
func program(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	t.Chdir(dir)
	if err := errors.Join(os.Mkdir("bin", 0o755), os.WriteFile("bin/bmem", []byte("#!/bin/sh\n"+script), 0o755)); err != nil {
		t.Fatal(err)
	}
}

func TestBmem(t *testing.T) {
	program(t, "echo one >&2; echo out; echo two >&2; test \"$1\" = well")
	var told []string
	out, err := Bmem(t.Context(), func(line string) { told = append(told, line) }, "well")
	if err != nil || string(out) != "out\n" || !slices.Equal(told, []string{"one", "two"}) {
		t.Errorf("%q, %q, %v", out, told, err)
	}
	if _, err := Bmem(t.Context(), nil, "traces", "collect"); err == nil || !strings.HasPrefix(err.Error(), "bmem traces collect: two: exit status 1") {
		t.Errorf("error %v", err)
	}
}

func TestBmemIsInterrupted(t *testing.T) {
	program(t, "trap 'echo ended >&2; exit 3' INT; echo ready >&2; while :; do sleep 0.05; done")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var told []string
	_, err := Bmem(ctx, func(line string) { told = append(told, line); cancel() })
	if !errors.Is(err, context.Canceled) || !slices.Equal(told, []string{"ready", "ended"}) {
		t.Errorf("%q, %v", told, err)
	}
}

// A training's program is told what to train, and its outcome is read.
func TestTrainRouters(t *testing.T) {
	made := madeUp(t)
	program(t, `echo "$@" >args; exit 1`)
	_, err := made.TrainRouters(t.Context(), Training{Name: "try", Settings: []string{"epochs=2"}, Runs: "runs"})
	if err == nil {
		t.Fatal("no error of a program that fails")
	}
	args, _ := os.ReadFile("args")
	for _, want := range []string{"train --progress jsonl --method offline --seeds 1", "--name try-", filepath.Join(made.Folder, "validation.jsonl.gz"), "--set epochs=2"} {
		if !strings.Contains(string(args), want) {
			t.Errorf("no %q in %s", want, args)
		}
	}
}

func TestSourceOpens(t *testing.T) {
	made := madeUp(t)
	if got, err := (Source{Folder: made.Folder}).Open(t.Context()); err != nil || got.Folder != made.Folder {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := (Source{Folder: "nowhere", Dataset: "locomo"}).Open(t.Context()); err == nil || !strings.Contains(err.Error(), "Questions is 0") {
		t.Errorf("error %v", err)
	}
	// Models are asked for what is not there, once.
	modelstest.Path(t, setup.Embedder)
	server := llmtest.New(llmtest.Config{Reply: func(llmtest.Call) string { return "yes" }})
	defer server.Close()
	models := Models(server.URL(), "", "test-model")
	models.CacheDir = t.TempDir()
	source := Source{Dataset: "hotpotqa", Models: models, Questions: 1, Design: "low+mid", Runs: t.TempDir()}
	for range 2 {
		source.Models.Engine = inprocess.New("", slog.New(slog.DiscardHandler))
		before := server.Count()
		got, err := source.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if f := got.Test; len(f.Episodes) != 2 || f.Dataset != "hotpotqa" || f.System["model"] != "test-model" {
			t.Errorf("%d traces of %+v", len(f.Episodes), f.Header)
		}
		if asked := server.Count() - before; (asked > 0) != (before == 0) {
			t.Errorf("%d calls after %d", asked, before)
		}
	}
}

func TestMust(t *testing.T) {
	if got := Must(3, nil); got != 3 {
		t.Error(got)
	}
	defer func() {
		if r := recover(); fmt.Sprint(r) != "broken" {
			t.Errorf("panic %v", r)
		}
	}()
	Must(0, errors.New("broken"))
}
