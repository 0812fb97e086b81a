// Package lab has the steps of the notebooks: open or collect the traces of a benchmark, train routers on them, compare, and make
// charts. A cell then holds only what differs from notebook to notebook.
//
//	t, err := lab.Open("traces/locomo-implementation")
//	training, err := t.TrainRouters(ctx, lab.Training{Name: "locomo", Seeds: 3})
//	routers, err := lab.Routers("ours", training)
//	result, err := t.Compare(ctx, routers)
//	c, err := lab.Beside(result, "locomo", "Llama-3.3-70B-Instruct")
//
// Every cell is a program of its own, so nothing is kept in memory: traces and trainings are kept in folders, and a training
// that was done before is read. Training needs a tensor engine, which cells do not link; the program bmem does it.
package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/budgetmem/budgetmem/datasets"
	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/experiments/run"
	"github.com/budgetmem/budgetmem/kernel/chart"
	"github.com/budgetmem/budgetmem/router"
	"github.com/budgetmem/budgetmem/tiers"
)

// HomeEnv is the environment variable with the project's folder. The notebook kernel sets it for its cells.
const HomeEnv = "BUDGETMEM_HOME"

// Path finds a file or folder of the project: relative to the working folder, or else to the project's folder, so that
// notebooks work wherever they are. The project's folder is that of HomeEnv, or else the nearest folder with a go.mod, from the
// working folder upwards.
func Path(name string) string {
	if _, err := os.Stat(name); err == nil || filepath.IsAbs(name) {
		return name
	}
	wd, err := os.Getwd()
	if err != nil {
		return name
	}
	path := filepath.Join(home(wd), name)
	// A relative path keeps names of this machine out of a notebook's outputs.
	if near, err := filepath.Rel(wd, path); err == nil && len(near) < len(path) {
		return near
	}
	return path
}

// home finds the project's folder; it is the working folder if there is no other.
func home(wd string) string {
	if dir := os.Getenv(HomeEnv); dir != "" {
		return dir
	}
	for dir := wd; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			return wd
		}
	}
}

// Benchmark holds the episodes of a benchmark under one tier set, by split.
type Benchmark struct {
	// Folder holds the trace files, each named after its split; "" if there are no files.
	Folder                  string
	Train, Validation, Test *episodes.File
}

// Open reads the files train.jsonl.gz, validation.jsonl.gz and test.jsonl.gz of a folder, which is found by Path. If one is
// missing, the error wraps fs.ErrNotExist.
func Open(folder string) (*Benchmark, error) { return open(folder, splits) }

// OpenTest reads test.jsonl.gz alone, which is enough for policies without training, such as Uniform's. If it is missing, the
// error wraps fs.ErrNotExist.
func OpenTest(folder string) (*Benchmark, error) { return open(folder, []string{run.TestSplit}) }

func open(folder string, splits []string) (*Benchmark, error) {
	t := &Benchmark{Folder: Path(folder)}
	files := t.files()
	for _, split := range splits {
		f, err := episodes.ReadSplit(t.path(split), split)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("there are no traces %s; collect them with `bmem traces collect --split %s --out %[1]s`, see traces/README.md: %[3]w", t.path(split), split, err)
		}
		if err != nil {
			return nil, err
		}
		*files[split] = f
	}
	return t, nil
}

func (t *Benchmark) path(split string) string { return filepath.Join(t.Folder, split+".jsonl.gz") }

// splits in the order in which they are used.
var splits = []string{string(datasets.Train), string(datasets.Validation), run.TestSplit}

func (t *Benchmark) files() map[string]**episodes.File {
	return map[string]**episodes.File{splits[0]: &t.Train, splits[1]: &t.Validation, splits[2]: &t.Test}
}

// Save writes the three files into a folder, which becomes t.Folder. A folder or file that cannot be written is an error.
func (t *Benchmark) Save(folder string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("save traces: %w", err)
	}
	t.Folder = folder
	for split, file := range t.files() {
		if err := (*file).WriteFile(t.path(split)); err != nil {
			return err
		}
	}
	return nil
}

// Table shows for each split the number of episodes, the model, and the mean score and dollars.
func (t *Benchmark) Table() chart.Table {
	rows := [][]string{{"split", "questions", "traces", "combinations a question", "mean score", "$/question", "model"}}
	for _, split := range splits {
		f := *t.files()[split]
		s := f.Stats()
		rows = append(rows, []string{split, strconv.Itoa(s.Questions), strconv.Itoa(s.Episodes), fmt.Sprintf("%d to %d", s.Fewest, s.Most),
			fmt.Sprintf("%.3f", s.Score), strconv.FormatFloat(s.Dollars, 'g', 3, 64), fmt.Sprint(f.System["model"])})
	}
	return chart.Table{Title: fmt.Sprintf("traces of %s, tier set %v, scored by %s", t.Test.Dataset, t.Test.System["axis"], t.Test.Metric), Rows: rows}
}

// Where returns the episodes for which keep returns true.
func (t *Benchmark) Where(keep func(router.Episode) bool) *Benchmark {
	out := &Benchmark{}
	for split, file := range out.files() {
		*file = (*t.files()[split]).Where(keep)
	}
	return out
}

// Only returns the episodes that use the named tiers alone. It fails if nothing is left of a split.
func (t *Benchmark) Only(names ...string) (*Benchmark, error) {
	out := &Benchmark{}
	for split, file := range out.files() {
		var err error
		if *file, err = (*t.files()[split]).Only(names...); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Questions counts the questions of a data set by category and split, and marks splits that are not shipped. An unknown data
// set is a datasets.ErrUnknown.
func Questions(ctx context.Context, dataset string) (chart.Table, error) {
	info, err := datasets.Describe(dataset, datasets.Options{})
	if err != nil {
		return chart.Table{}, err
	}
	data, err := datasets.Open(dataset, datasets.Options{})
	if err != nil {
		return chart.Table{}, err
	}
	counts := map[string][]int{} // by category
	all := make([]int, len(splits))
	head := append([]string{"category"}, splits...)
	for i, split := range splits {
		questions, err := data.Questions(ctx, datasets.Split(split))
		if split == run.TestSplit {
			questions, err = data.Test(ctx)
		}
		if errors.Is(err, datasets.ErrMissingData) {
			head[i+1] += " (not shipped)"
			continue
		}
		if err != nil {
			return chart.Table{}, err
		}
		for _, q := range questions {
			if counts[q.Category] == nil {
				counts[q.Category] = make([]int, len(splits))
			}
			counts[q.Category][i]++
			all[i]++
		}
	}
	rows := [][]string{head}
	row := func(name string, n []int) {
		r := []string{name}
		for _, v := range n {
			r = append(r, strconv.Itoa(v))
		}
		rows = append(rows, r)
	}
	for _, c := range slices.Sorted(maps.Keys(counts)) {
		row(c, counts[c])
	}
	row("all", all)
	return chart.Table{Title: fmt.Sprintf("%s: %s (%s)", info.Name, info.Summary, info.Licence), Rows: rows}, nil
}

// Tiers lists the tiers of a tier set by module, cheapest first. The set is named as for tiers.LoadSpec. An unknown set or a
// broken file is an error.
func Tiers(set string) (chart.Table, error) {
	spec, err := tiers.LoadSpec(set)
	if err != nil {
		return chart.Table{}, err
	}
	rows := [][]string{{"module", "tier", "method", "prompt", "model"}}
	for _, m := range tiers.Modules() {
		for _, t := range spec.Modules[m.String()] {
			rows = append(rows, []string{m.String(), t.Tier, t.Method, cmp.Or(t.Prompt, "-"), cmp.Or(t.Model, "-")})
		}
	}
	return chart.Table{Title: spec.Name + ": " + spec.About, Rows: rows}, nil
}
