package workers

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/klauspost/compress/s2"

	"github.com/budgetmem/budgetmem/experiments/run"
	"github.com/budgetmem/budgetmem/internal/filehash"
	"github.com/budgetmem/budgetmem/tiers/llm"
)

// Job is what workers need to know of a run. It holds names, never keys.
type Job struct {
	// Run identifies the run's folder.
	Run string `json:"run"`
	// Live means that questions come one at a time, under policies that decide where the run was started; see Coordinator.Open.
	Live bool `json:"live,omitempty"`
	// Version is the coordinator's program, as program tells it.
	Version  string       `json:"version"`
	Settings run.Settings `json:"settings"`
	// Policies are written as router.Parse takes them. Routers holds the SHA-256 of those that are files.
	Policies     []string          `json:"policies"`
	Routers      map[string]string `json:"routers,omitempty"`
	Questions    int               `json:"questions"` // number of questions to ask
	Sample       run.Sample        `json:"sample,omitempty"`
	RecordStates bool              `json:"record_states,omitempty"`
	// Limit is the run's spend limit in dollars, which workers take part in; 0 if it has none.
	Limit float64 `json:"limit,omitempty"`
	// Opens says how the data and the models of the run are opened; it is for Worker.Open alone.
	Opens json.RawMessage `json:"opens,omitempty"`
}

// id tells apart what a server has of this job, and of others. A run that asks live does so in a session for each split.
func (j Job) id() string {
	if j.Live {
		return j.Run + "-" + j.Settings.Split
	}
	return j.Run
}

// newJob describes a run to workers.
func newJob(id string, live bool, a *run.Asker, limit float64, opens any) (Job, error) {
	j := Job{Run: id, Live: live, Settings: a.Settings(), Policies: a.Policies, Questions: a.Questions, Sample: a.Sample,
		RecordStates: a.RecordStates, Limit: limit}
	var err error
	if j.Version, err = program(); err != nil {
		return j, err
	}
	if j.Routers, err = routerHashes(a.Policies); err != nil {
		return j, err
	}
	if j.Opens, err = json.Marshal(opens); err != nil {
		return j, fmt.Errorf("describe the run to workers: %w", err)
	}
	return j, nil
}

// Configure fills in what the job says of the questions and how they are asked.
func (j Job) Configure(c *run.Config) {
	c.Split, c.Seed, c.TopK, c.KeepK, c.Retrieval = j.Settings.Split, j.Settings.Seed, j.Settings.TopK, j.Settings.KeepK, j.Settings.Retrieval
	c.Policies, c.Questions, c.Sample, c.RecordStates = j.Policies, j.Questions, j.Sample, j.RecordStates
}

// Check finds what a worker would answer with in another way than the coordinator. The error names each difference.
func (j Job) Check(a *run.Asker) error {
	var diffs []string
	if v, err := program(); err != nil {
		diffs = append(diffs, err.Error())
	} else if v != j.Version {
		diffs = append(diffs, fmt.Sprintf("the run's program is version %s, this one is %s", j.Version, v))
	}
	if d := j.Settings.Differences(a.Settings(), "%s is %v in the run and %v here", "%s is %v here and nothing in the run"); d != "" {
		diffs = append(diffs, d)
	}
	hashes, err := routerHashes(j.Policies)
	if err != nil {
		diffs = append(diffs, err.Error())
	}
	for spec, sum := range j.Routers {
		if hashes[spec] != "" && hashes[spec] != sum {
			diffs = append(diffs, spec+" is another file here")
		}
	}
	if len(diffs) > 0 {
		return errors.New(strings.Join(diffs, "; "))
	}
	return nil
}

// program tells versions of the program apart: by the commit, or where that does not say all, as in a container or with changed files, by
// what was built too.
func program() (string, error) {
	v := run.Commit()
	if !slices.Contains([]string{"", "unknown", "(devel)"}, v) && !strings.HasSuffix(v, "+") {
		return v, nil
	}
	sum, err := executableHash()
	if err != nil {
		return "", fmt.Errorf("tell which version of the program this is: %w", err)
	}
	return fmt.Sprintf("%s, built as %s", v, sum), nil
}

// executableHash returns the start of the SHA-256 of the program's file.
func executableHash() (string, error) {
	path := "/proc/self/exe" // on Linux, also once another version has taken its place
	if _, err := os.Stat(path); err != nil {
		if path, err = os.Executable(); err != nil {
			return "", err
		}
	}
	sum, err := filehash.SHA256(path)
	if err != nil {
		return "", err
	}
	return sum[:12], nil
}

// routerHashes returns the SHA-256 of the policies that are router files.
func routerHashes(policies []string) (map[string]string, error) {
	var out map[string]string
	for _, spec := range policies {
		file, ok := strings.CutPrefix(spec, "router:")
		if !ok {
			continue
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("policy %s: %w", spec, err)
		}
		if out == nil {
			out = map[string]string{}
		}
		sum := sha256.Sum256(data)
		out[spec] = hex.EncodeToString(sum[:])
	}
	return out, nil
}

// result is what a worker stores for a question and policy.
type result struct {
	Worker string     `json:"worker"`
	Record run.Record `json:"record"`
	// Stop says that the run cannot go on, and why: the spend limit is reached.
	Stop string `json:"stop,omitempty"`
}

// stopped is the error of a run that a worker found to be at its end.
func (r result) stopped() error {
	return fmt.Errorf("%w, as worker %s found: %s", llm.ErrBudget, r.Worker, strings.TrimPrefix(r.Stop, llm.ErrBudget.Error()+": "))
}

// encode packs a result: traces compress well, and a server bounds what a message may have.
func (r result) encode() ([]byte, error) {
	data, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("pack the result of question %s: %w", r.Record.ID, err)
	}
	return s2.Encode(nil, data), nil
}

// mostUnpacked bounds a result in bytes.
const mostUnpacked = 256 << 20

// errStrange: a message is not the result that its place says.
var errStrange = errors.New("it is of an earlier version, or damaged")

// decodeResult unpacks a result of the run id that was stored under a subject.
func decodeResult(id, subject string, packed []byte) (r result, err error) {
	data, err := unpack(packed)
	if err == nil {
		err = json.Unmarshal(data, &r)
	}
	switch {
	case err != nil:
		return r, fmt.Errorf("%w: %w", errStrange, err)
	case r.Stop != "" && !strings.HasPrefix(subject, stopSubjects(id)):
		return r, fmt.Errorf("%w: it is the end of a spend limit", errStrange)
	case r.Stop == "" && subject != resultSubject(id, r.Record.ID, r.Record.Policy):
		return r, fmt.Errorf("%w: it is that of question %q under policy %q", errStrange, r.Record.ID, r.Record.Policy)
	}
	return r, nil
}

func unpack(packed []byte) ([]byte, error) {
	n, err := s2.DecodedLen(packed)
	if err != nil {
		return nil, err
	}
	if n > mostUnpacked {
		return nil, fmt.Errorf("%d bytes, more than the %d that one may have", n, mostUnpacked)
	}
	return s2.Decode(nil, packed)
}
