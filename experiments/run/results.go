package run

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/budgetmem/budgetmem/datasets"
)

// Results are the records of a run, finished or not.
type Results struct {
	// Name is that of the run's folder.
	Name     string
	Settings Settings
	// Judges describes the judges, by name.
	Judges map[string]JudgeInfo
	// Columns hold the ceiling first, then the policies in the run's order.
	Columns []Column
}

// Column holds the records of one policy.
type Column struct {
	Policy  string
	Records []Record
}

// Outcome is the result of Run.
type Outcome struct {
	// Results hold the questions that this start chose, in their order. The ceiling always has a column.
	Results
	Dir       string
	Questions []datasets.Question
	// System has the warnings of this start.
	System   System
	InFlight int // questions asked at a time
	// Progress is the state at the end, without Last.
	Progress
}

// Load reads a run's folder. A run that is under way may be read: what it has finished by then is there. Scores are
// computed again, so that runs of different versions of the program compare. If dir holds no run, the error wraps
// fs.ErrNotExist.
func Load(dir string) (Results, error) {
	file, err := readConfig(dir)
	if err != nil {
		return Results{}, fmt.Errorf("%s is not the folder of a run: %w", dir, err)
	}
	path := filepath.Join(dir, tracesName)
	data, err := os.ReadFile(path)
	if err != nil {
		return Results{}, fmt.Errorf("read the run's journal: %w", err)
	}
	records, _, err := parseJournal(path, data)
	if err != nil {
		return Results{}, err
	}
	if err := rescore(records, file.Settings.Metric); err != nil {
		return Results{}, fmt.Errorf("%s: %w", path, err)
	}
	name, err := nameOf(dir)
	if err != nil {
		return Results{}, err
	}
	return Results{Name: name, Settings: file.Settings, Judges: file.Judges, Columns: columns(records, file.Policies)}, nil
}

func nameOf(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("name the run in %s: %w", dir, err)
	}
	return filepath.Base(abs), nil
}

// columns sorts records by policy and question: the ceiling first, then the policies as the run lists them, then any
// others by name.
func columns(records map[key]Record, policies []string) []Column {
	byPolicy := map[string][]Record{}
	for _, k := range slices.SortedFunc(maps.Keys(records), func(a, b key) int { return cmp.Compare(a.id, b.id) }) {
		byPolicy[k.policy] = append(byPolicy[k.policy], records[k])
	}
	rank := func(policy string) int {
		if policy == Gold {
			return -1
		}
		if i := slices.Index(policies, policy); i >= 0 {
			return i
		}
		return len(policies)
	}
	var out []Column
	for _, policy := range slices.SortedFunc(maps.Keys(byPolicy), func(a, b string) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a, b))
	}) {
		out = append(out, Column{Policy: policy, Records: byPolicy[policy]})
	}
	return out
}

// outcome returns the state of a run.
func (r *run) outcome() (*Outcome, error) {
	name, err := nameOf(r.Dir)
	if err != nil {
		return nil, err
	}
	o := &Outcome{Results: Results{Name: name, Settings: r.settings(), Judges: r.judgeInfos}, Dir: r.Dir, Questions: r.chosen, System: r.System,
		InFlight: r.InFlight, Progress: r.progress}
	// Failures of earlier starts count too.
	o.Done, o.Failed = 0, 0
	for _, j := range r.jobs() {
		if rec, ok := r.done[j.key()]; ok {
			o.Done++
			if rec.Failed() {
				o.Failed++
			}
		}
	}
	for _, p := range r.policies {
		o.Columns = append(o.Columns, Column{p.name, r.records(p.name)})
	}
	return o, nil
}

// records returns a policy's records in the order of the questions.
func (r *run) records(policy string) []Record {
	var out []Record
	for _, q := range r.chosen {
		if rec, ok := r.done[key{policy, q.ID}]; ok {
			out = append(out, rec)
		}
	}
	return out
}
