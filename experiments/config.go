// Package experiments runs benchmarks: a data set's questions under several policies, with what each choice of tiers
// earned and cost. A run lives in a folder and can be stopped at any moment and taken up again.
//
// The files of a run:
//
//	config.json        everything that decides its results, and who ran it where
//	traces.jsonl       one line a finished question in the order of finishing, flushed before the run goes on
//	predictions.jsonl  one line a policy and question in the order of the questions; equal byte for byte for equal settings
//	metrics.jsonl      one line a policy and question: times, and what was paid or came from the cache
//	summary.json       the table
//	report.html        the table, charts and every question with its trace, for a browser
package experiments

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/budgetmem/budgetmem/bmem"
	"github.com/budgetmem/budgetmem/bmem/retrieve"
	"github.com/budgetmem/budgetmem/datasets"
	"github.com/budgetmem/budgetmem/datasets/judge"
	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/internal/atomicfile"
)

// Gold is the name of the pseudo-policy that answers from the gold evidence: the ceiling that every table shows.
const Gold = "gold"

// Test is the name of the split that Dataset.Test returns.
const Test = "test"

// Config is a run.
type Config struct {
	// Dir is the run's folder; it is created. A folder with a run of the same settings is taken up again.
	Dir string
	// Dataset and Split ("train", "validation" or "test") say which questions.
	Dataset datasets.Dataset
	Split   string
	// Questions is how many are asked, spread over the categories; 0 means all. Seed chooses them and drives the random policy
	// and the bootstrap.
	Questions int
	Seed      int64
	// Policies are asked each question; see router.Parse for how they are written.
	Policies []string
	// Memory answers.
	Memory *bmem.Memory
	// Judges rate the answers, each by a model of its own. They may be added to a run that is there. What they cost is kept
	// apart from what the answers cost.
	Judges []*judge.Judge
	// RecordStates makes each record carry what a router would look at, for traces to train from. Records of an earlier start
	// that lack it are asked again, which costs little where replies are cached.
	RecordStates bool
	// Traced, if not nil, holds traces of an earlier run of the same system, of which nothing else may be left: what they tell
	// is not asked again. Collect returns them too.
	Traced *episodes.File
	// NoCeiling leaves out the answers from the gold evidence.
	NoCeiling bool
	// TopK, KeepK and Retrieval are passed on to Ask; zero values mean bmem's defaults.
	TopK, KeepK int
	Retrieval   retrieve.Mode
	// InFlight is how many questions are answered at one time (default 8).
	InFlight int
	// System is recorded, and shown above the table.
	System System
	// Progress, if not nil, is told after each question. It is not called by two goroutines at once.
	Progress func(Progress)
}

// Progress is how far a run is.
type Progress struct {
	Done, Total int // questions times policies, those of earlier starts included
	Failed      int
	// Dollars is the cost of all questions done, Paid what was paid for them since this start, and JudgePaid what was paid
	// for judging them.
	Dollars, Paid, JudgePaid float64
	// Last is the record that just finished; nil at the start.
	Last *Record
}

// settings is what decides a run's results: the part of config.json that must not change under a run's name. Which
// policies and how many questions are asked is not part of it, so that a run can be extended.
type settings struct {
	Dataset     string        `json:"dataset"`
	DataHash    string        `json:"data_hash"`
	Split       string        `json:"split"`
	Metric      string        `json:"metric"`
	ChunkTokens int           `json:"chunk_tokens"`
	Seed        int64         `json:"seed"`
	TopK        int           `json:"top_k"`
	KeepK       int           `json:"keep_k"`
	Retrieval   retrieve.Mode `json:"retrieval"`
	System
}

// runFile is config.json.
type runFile struct {
	Settings  settings `json:"settings"`
	Policies  []string `json:"policies"`
	Questions int      `json:"questions"`
	// Judges are those of all starts, by name. A judge's entry must not change, or its scores could not be compared.
	Judges map[string]JudgeInfo `json:"judges,omitempty"`
	// Starts lists every start of the run: where, when, by what program.
	Starts []start `json:"starts"`
}

type start struct {
	Time     string   `json:"time"`
	Commit   string   `json:"commit"`
	Go       string   `json:"go"`
	Platform string   `json:"platform"`
	Backend  string   `json:"backend"`
	InFlight int      `json:"in_flight"`
	Warnings []string `json:"warnings,omitempty"`
}

func (c Config) settings() settings {
	return settings{
		Dataset: c.Dataset.Name(), DataHash: c.Dataset.Hash(), Split: c.Split, Metric: c.Dataset.Metric(), ChunkTokens: c.Memory.ChunkTokens(),
		Seed: c.Seed, TopK: c.TopK, KeepK: c.KeepK, Retrieval: c.Retrieval, System: c.System,
	}
}

// check fills in defaults and finds what cannot work before anything is written.
func (c *Config) check() error {
	var errs []error
	require := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	require(c.Dir != "", "Dir: name the run's folder")
	require(c.Dataset != nil, "Dataset is required")
	require(c.Memory != nil, "Memory is required")
	require(slices.Contains([]string{string(datasets.Train), string(datasets.Validation), Test}, c.Split), "split %q: want train, validation or test", c.Split)
	require(len(c.Policies) > 0, "Policies: name at least one, such as \"low\"")
	judges := map[string]bool{}
	for _, j := range c.Judges {
		require(!judges[j.Name()], "judge %q is named twice", j.Name())
		judges[j.Name()] = true
	}
	require(!slices.Contains(c.Policies, Gold), "policy %q is always part of a run, if wanted at all; leave it out", Gold)
	c.InFlight = cmp.Or(max(c.InFlight, 0), 8)
	c.TopK = cmp.Or(c.TopK, bmem.DefaultTopK)
	c.KeepK = cmp.Or(c.KeepK, bmem.DefaultKeepK)
	c.Retrieval = cmp.Or(c.Retrieval, retrieve.Hybrid)
	return errors.Join(errs...)
}

// recordConfig writes config.json, or adds this start to the one that is there, and returns it. It refuses a folder
// whose run had other settings.
func (c Config) recordConfig() (runFile, error) {
	file := runFile{Settings: c.settings(), Judges: map[string]JudgeInfo{}}
	for _, j := range c.Judges {
		file.Judges[j.Name()] = judgeInfo(j)
	}
	was, err := readRunFile(c.Dir)
	switch {
	case err == nil:
		diff := difference(was.Settings, file.Settings)
		for name, info := range was.Judges {
			if now, ok := file.Judges[name]; ok && now != info {
				diff += fmt.Sprintf("judge %s was %+v and is now %+v", name, info, now)
			}
			file.Judges[name] = info
		}
		if diff != "" {
			return runFile{}, fmt.Errorf("%s holds a run with other settings: %s; give this run another name, or remove that folder", c.Dir, diff)
		}
		file.Starts = was.Starts
	case !errors.Is(err, fs.ErrNotExist):
		return runFile{}, err
	}
	file.Policies, file.Questions = c.Policies, c.Questions
	file.Starts = append(file.Starts, start{
		Time: time.Now().UTC().Format(time.RFC3339), Commit: Commit(), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
		Backend: c.System.Backend, InFlight: c.InFlight, Warnings: c.System.Warnings,
	})
	return file, writeJSON(filepath.Join(c.Dir, configName), file)
}

// otherVersions warns of answers that other versions of the program may have given; "" if all starts were of this one.
func (f runFile) otherVersions() string {
	var others []string
	for _, s := range f.Starts {
		if s.Commit != Commit() && !slices.Contains(others, s.Commit) {
			others = append(others, s.Commit)
		}
	}
	if len(others) == 0 {
		return ""
	}
	return fmt.Sprintf("this run was begun by another version (%s, now %s) and its answers stay; give the run another name to ask anew", strings.Join(others, ", "), Commit())
}

// The files of a run that are read again.
const (
	configName = "config.json"
	tracesName = "traces.jsonl"
)

func readRunFile(dir string) (runFile, error) {
	path := filepath.Join(dir, configName)
	data, err := os.ReadFile(path)
	if err != nil {
		return runFile{}, fmt.Errorf("read the run's config: %w", err)
	}
	var f runFile
	if err := json.Unmarshal(data, &f); err != nil {
		return runFile{}, fmt.Errorf("%s is not a run's config: %w", path, err)
	}
	return f, nil
}

// difference names the first settings that differ, "" if none.
func difference(was, now settings) string {
	a, b := fields(was), fields(now)
	var diffs []string
	for name := range a {
		if !reflect.DeepEqual(a[name], b[name]) {
			diffs = append(diffs, fmt.Sprintf("%s was %v and is now %v", name, a[name], b[name]))
		}
	}
	for name := range b {
		if _, ok := a[name]; !ok {
			diffs = append(diffs, fmt.Sprintf("%s is now %v", name, b[name]))
		}
	}
	slices.Sort(diffs)
	return strings.Join(diffs, "; ")
}

// fields returns a value's JSON fields. Both sides of a comparison go through it, so they differ only in content.
func fields(v any) map[string]any {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // settings hold plain values only
	}
	var out map[string]any
	if err := json.Unmarshal(data, &out); err != nil {
		panic(err)
	}
	return out
}

// Commit is the version of the program: the git commit it was built from, with a plus if files had been changed.
func Commit() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	rev, dirty := info.Main.Version, ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			rev = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+"
		}
	}
	return rev + dirty
}

// writeJSON replaces a file by an indented JSON value.
func writeJSON(path string, v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return atomicfile.WriteFile(path, b.Bytes(), 0o644)
}
