package experiments

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// Stored is a run as its folder holds it, finished or not.
type Stored struct {
	// Name is the folder's.
	Name     string
	Settings settings
	// Judges says which models judged, by the judge's name.
	Judges  map[string]JudgeInfo
	columns []column // the ceiling first, then the policies in the run's order
}

// Load reads a run's folder. A run that is under way may be read: what it has finished by then is there. Scores are
// computed anew, so runs of different versions of the program compare.
func Load(dir string) (Stored, error) {
	file, err := readRunFile(dir)
	if err != nil {
		return Stored{}, fmt.Errorf("%s is not the folder of a run: %w", dir, err)
	}
	path := filepath.Join(dir, tracesName)
	data, err := os.ReadFile(path)
	if err != nil {
		return Stored{}, fmt.Errorf("read the run's journal: %w", err)
	}
	records, _, err := parseJournal(path, data)
	if err != nil {
		return Stored{}, err
	}
	if err := rescore(records, file.Settings.Metric); err != nil {
		return Stored{}, fmt.Errorf("%s: %w", path, err)
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return Stored{}, fmt.Errorf("name the run in %s: %w", dir, err)
	}
	return Stored{Name: filepath.Base(abs), Settings: file.Settings, Judges: file.Judges, columns: columnsOf(records, file.Policies)}, nil
}

// columnsOf sorts records by policy and question: the ceiling first, then the policies as the run lists them, then any
// others by name.
func columnsOf(records map[key]Record, policies []string) []column {
	byPolicy := map[string][]Record{}
	for _, k := range slices.SortedFunc(maps.Keys(records), func(a, b key) int { return cmp.Compare(a.id, b.id) }) {
		byPolicy[k.policy] = append(byPolicy[k.policy], records[k])
	}
	place := func(policy string) int {
		if policy == Gold {
			return -1
		}
		if i := slices.Index(policies, policy); i >= 0 {
			return i
		}
		return len(policies)
	}
	var out []column
	for _, policy := range slices.SortedFunc(maps.Keys(byPolicy), func(a, b string) int {
		return cmp.Or(cmp.Compare(place(a), place(b)), cmp.Compare(a, b))
	}) {
		out = append(out, column{policy: policy, records: byPolicy[policy]})
	}
	return out
}

// Calls counts the calls of the run's models.
func (s Stored) Calls() Calls {
	calls := newCallCounter()
	calls.add(s.columns, s.Settings.Model, s.Judges)
	return calls.list()
}
