// Package run asks a data set's questions under several policies and records what each choice of tiers earned and cost.
// A run lives in a folder and can be stopped at any moment and resumed.
//
// The files of a run:
//
//	config.json        everything that decides its results, and every start of it
//	traces.jsonl       one line per finished question in the order of finishing, on the disk before the run continues
//	predictions.jsonl  one line per policy and question in the order of the questions; equal byte for byte for equal settings
//	metrics.jsonl      one line per policy and question: times, what was paid and what came from the cache
//
// Package report adds summary.json and report.html.
package run

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
	"github.com/budgetmem/budgetmem/internal/sealed"
)

// Gold is the name of the pseudo-policy that answers from the gold evidence: the ceiling that every table shows.
const Gold = "gold"

// TestSplit is the name of the split that Dataset.Test returns.
const TestSplit = "test"

// Config says what is run.
type Config struct {
	// Dir is the run's folder; it is created. A folder with a run of the same settings is resumed.
	Dir string
	// Dataset and Split ("train", "validation" or "test") say which questions are asked.
	Dataset datasets.Dataset
	Split   string
	// Questions is the number of questions, 0 means all. Sample says how they are spread over the categories ("" means
	// Natural). Seed chooses them, and drives the random policy and the bootstrap.
	Questions int
	Sample    Sample
	Seed      int64
	// Policies answer each question; see router.Parse for how they are written.
	Policies []string
	// Memory answers.
	Memory *bmem.Memory
	// Judges rate the answers, each by a model of its own. They may be added to a run that exists. Their cost is kept apart
	// from the cost of the answers.
	Judges []*judge.Judge
	// RecordStates makes each record hold the embeddings that a router would see, for training. Records of an earlier start
	// without them are asked again, which costs little where replies are cached.
	RecordStates bool
	// Traced, if not nil, holds episodes of an earlier run of the same system. They are not asked again. Collect returns them
	// too.
	Traced *episodes.File
	// NoCeiling leaves out the answers from the gold evidence.
	NoCeiling bool
	// TopK, KeepK and Retrieval are passed on to Ask; zero values mean bmem's defaults.
	TopK, KeepK int
	Retrieval   retrieve.Mode
	// InFlight is the number of questions answered at one time (default 8).
	InFlight int
	// Executor says where the questions are answered; nil means in this process.
	Executor Executor
	// System describes what answers.
	System System
	// Progress, if not nil, is called at the start and after each question, never by two goroutines at once.
	Progress func(Progress)
}

// Progress is how far a run is.
type Progress struct {
	// Done and Total count questions times policies, those of earlier starts included. Failed counts those without an answer.
	Done, Total, Failed int
	// Dollars is the list price of all questions done, Paid what was paid for them since this start, and JudgePaid what was
	// paid for judging them.
	Dollars, Paid, JudgePaid float64
	// Last is the record that was just finished; nil at the start.
	Last *Record
}

// Settings decide a run's results: the part of config.json that must not change under a run's name. Policies and the number
// of questions are not part of it, so that a run can be extended.
type Settings struct {
	Dataset       string        `json:"dataset"`
	DataHash      string        `json:"data_hash"`
	Split         string        `json:"split"`
	Metric        string        `json:"metric"`
	ChunkTokens   int           `json:"chunk_tokens"`             // longest chunk, in tokens of the embedder
	AnswerSamples int           `json:"answer_samples,omitempty"` // replies sampled for an answer; 0 for one
	Seed          int64         `json:"seed"`
	TopK          int           `json:"top_k"`  // chunks retrieved
	KeepK         int           `json:"keep_k"` // chunks that the filter may keep
	Retrieval     retrieve.Mode `json:"retrieval"`
	System
}

// configFile is config.json.
type configFile struct {
	Settings  Settings `json:"settings"`
	Policies  []string `json:"policies"`
	Questions int      `json:"questions"`
	// Judges are those of all starts, by name. A judge's entry must not change, or its scores could not be compared.
	Judges map[string]JudgeInfo `json:"judges,omitempty"`
	// Starts lists every start of the run: where, when, by which version.
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

func (c Config) settings() Settings {
	return Settings{
		Dataset: c.Dataset.Name(), DataHash: c.Dataset.Hash(), Split: c.Split, Metric: c.Dataset.Metric(), ChunkTokens: c.Memory.ChunkTokens(), AnswerSamples: c.Memory.AnswerSamples(),
		Seed: c.Seed, TopK: c.TopK, KeepK: c.KeepK, Retrieval: c.Retrieval, System: c.System,
	}
}

// checkSystem fills in defaults and checks what asking a question needs.
func (c *Config) checkSystem() error {
	var errs []error
	if c.Dataset == nil {
		errs = append(errs, errors.New("Dataset is required"))
	}
	if c.Memory == nil {
		errs = append(errs, errors.New("Memory is required"))
	}
	if !slices.Contains([]string{string(datasets.Train), string(datasets.Validation), TestSplit}, c.Split) {
		errs = append(errs, fmt.Errorf("split %q: want train, validation or test", c.Split))
	}
	c.InFlight = cmp.Or(max(c.InFlight, 0), 8)
	c.TopK = cmp.Or(c.TopK, bmem.DefaultTopK)
	c.KeepK = cmp.Or(c.KeepK, bmem.DefaultKeepK)
	c.Retrieval = cmp.Or(c.Retrieval, retrieve.Hybrid)
	if c.Executor == nil {
		c.Executor = local{}
	}
	return errors.Join(errs...)
}

// check fills in defaults and checks everything that a run needs, before anything is written.
func (c *Config) check() error {
	errs := []error{c.checkSystem()}
	if c.Dir == "" {
		errs = append(errs, errors.New("Dir: name the run's folder"))
	}
	if len(c.Policies) == 0 {
		errs = append(errs, errors.New("Policies: name at least one, such as \"low\""))
	}
	if slices.Contains(c.Policies, Gold) {
		errs = append(errs, fmt.Errorf("policy %q is always part of a run, unless NoCeiling is set; leave it out", Gold))
	}
	judges := map[string]bool{}
	for _, j := range c.Judges {
		if judges[j.Name()] {
			errs = append(errs, fmt.Errorf("judge %q is named twice", j.Name()))
		}
		judges[j.Name()] = true
	}
	return errors.Join(errs...)
}

// recordConfig writes config.json, or adds this start to the existing one, and returns it. It refuses a folder whose run had
// other settings.
func (c Config) recordConfig() (configFile, error) {
	file := configFile{Settings: c.settings(), Judges: map[string]JudgeInfo{}}
	for _, j := range c.Judges {
		file.Judges[j.Name()] = judgeInfo(j)
	}
	was, err := readConfig(c.Dir)
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
			return configFile{}, fmt.Errorf("%s holds a run with other settings: %s; give this run another name, or remove that folder", c.Dir, diff)
		}
		file.Starts = was.Starts
	case !errors.Is(err, fs.ErrNotExist):
		return configFile{}, err
	default:
		// It is written before the first answer is.
		if info, err := os.Stat(filepath.Join(c.Dir, tracesName)); err == nil && info.Size() > 0 {
			return configFile{}, fmt.Errorf("%s has answers, but its %s, which says by which settings, is gone: restore it, or give this run another name", c.Dir, configName)
		}
	}
	file.Policies, file.Questions = c.Policies, c.Questions
	file.Starts = append(file.Starts, start{
		Time: time.Now().UTC().Format(time.RFC3339), Commit: Commit(), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
		Backend: c.System.Backend, InFlight: c.InFlight, Warnings: c.System.Warnings,
	})
	return file, file.write(c.Dir)
}

func (f configFile) write(dir string) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(f); err != nil {
		return fmt.Errorf("write the run's config: %w", err)
	}
	return atomicfile.WriteFile(filepath.Join(dir, configName), sealed.SealFile(b.Bytes()), 0o644)
}

// otherVersions warns of answers that other versions of the program may have given; "" if all starts had this version.
func (f configFile) otherVersions() string {
	var others []string
	for _, s := range f.Starts {
		if s.Commit != Commit() && !slices.Contains(others, s.Commit) {
			others = append(others, s.Commit)
		}
	}
	if len(others) == 0 {
		return ""
	}
	return fmt.Sprintf("this run was started by another version (%s, now %s) and keeps its answers; give the run another name to ask again", strings.Join(others, ", "), Commit())
}

// The files of a run that are read again.
const (
	configName = "config.json"
	tracesName = "traces.jsonl"
)

func readConfig(dir string) (configFile, error) {
	path := filepath.Join(dir, configName)
	data, err := os.ReadFile(path)
	if err != nil {
		return configFile{}, fmt.Errorf("read the run's config: %w", err)
	}
	if data, err = sealed.OpenFile(data); err != nil {
		return configFile{}, fmt.Errorf("%s: %w", path, err)
	}
	var f configFile
	if err := json.Unmarshal(data, &f); err != nil {
		return configFile{}, fmt.Errorf("%s is not a run's config: %w", path, err)
	}
	return f, nil
}

// difference names the settings that differ, "" if none.
func difference(was, now Settings) string {
	return was.Differences(now, "%s was %v and is now %v", "%s is now %v")
}

// Differences lists the settings in which s and t differ, joined by semicolons, "" if none. both is the format of one that they
// have different values of: its name, the value in s, that in t; missing is that of one that s lacks: its name and the value in t.
func (s Settings) Differences(t Settings, both, missing string) string {
	a, b := fields(s), fields(t)
	var diffs []string
	for name := range a {
		if !reflect.DeepEqual(a[name], b[name]) {
			diffs = append(diffs, fmt.Sprintf(both, name, a[name], b[name]))
		}
	}
	for name := range b {
		if _, ok := a[name]; !ok {
			diffs = append(diffs, fmt.Sprintf(missing, name, b[name]))
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
