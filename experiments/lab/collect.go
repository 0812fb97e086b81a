package lab

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"

	"github.com/budgetmem/budgetmem/experiments/traces"
	"github.com/budgetmem/budgetmem/kernel/display"
	"github.com/budgetmem/budgetmem/tiers"
)

// Source says where a benchmark's traces come from: from a folder; or, if that does not exist or an endpoint is named, from
// models that are asked now.
type Source struct {
	// Folder of the traces, see Open.
	Folder string
	// Dataset and Axis are what is asked of which tier set, the axis "" of tiers.ImplementationAxis.
	Dataset, Axis string
	// Endpoint is the base URL of the model's endpoint, whose key is in the environment variable KeyEnv; "" means a model on
	// this machine. Model names it, "" the best that is here.
	Endpoint, KeyEnv, Model string
	// Questions is how many are asked of each split, each with as many combinations as Design says; "" means low, mid, high
	// and two more.
	Questions int
	Design    string
	// Flags are more flags of `bmem traces collect`.
	Flags []string
	// Runs is the folder of what is collected, "" for runs/lab in the module's.
	Runs string
}

// Open reads the traces, or collects them with a bar of progress. What was collected once is read afterwards; collecting that was
// stopped goes on.
func (s Source) Open(ctx context.Context) (*Traces, error) {
	if s.Endpoint == "" {
		if t, err := Open(s.Folder); err == nil || !errors.Is(err, fs.ErrNotExist) {
			return t, err
		}
	}
	if s.Questions < 1 {
		return nil, fmt.Errorf("collect traces of %s: Questions is %d; it must be at least 1", s.Dataset, s.Questions)
	}
	runs, err := runsFolder(s.Runs)
	if err != nil {
		return nil, err
	}
	args := []string{"traces", "collect", "--dataset", s.Dataset, "--axis", cmp.Or(s.Axis, tiers.ImplementationAxis),
		"--questions", strconv.Itoa(s.Questions), "--design", cmp.Or(s.Design, "uniform+random:2")}
	for _, f := range [][2]string{{"--endpoint", s.Endpoint}, {"--api-key-env", s.KeyEnv}, {"--model", s.Model}} {
		if f[1] != "" {
			args = append(args, f[0], f[1])
		}
	}
	args = append(args, s.Flags...)
	hash := sha256.Sum256(fmt.Appendf(nil, "%q", args))
	name := fmt.Sprintf("%s-%.4x", s.Dataset, hash)
	folder := filepath.Join(runs, name)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, fmt.Errorf("collect traces: %w", err)
	}
	t := &Traces{Folder: folder}
	for _, split := range splits {
		if f, err := traces.ReadFile(t.path(split)); err == nil && f.Stats().Questions >= s.Questions {
			continue
		}
		bar := display.Progress(ctx, split+" answers")
		_, err := Bmem(ctx, answers(bar.Set), append(args, "--split", split, "--runs", runs, "--name", name+"-"+split, "--out", t.path(split))...)
		bar.End(err)
		if err != nil {
			return nil, err
		}
	}
	return Open(folder)
}

var answerLine = regexp.MustCompile(`^(\d+) of (\d+) answers(?:, (.*))?$`)

// answers makes progress of the lines by which bmem tells of answers.
func answers(set func(done, total int, note string)) func(line string) {
	return func(line string) {
		if m := answerLine.FindStringSubmatch(line); m != nil {
			done, _ := strconv.Atoi(m[1]) // the expression found digits
			total, _ := strconv.Atoi(m[2])
			set(done, total, m[3])
		}
	}
}

func runsFolder(named string) (string, error) {
	folder, err := filepath.Abs(cmp.Or(named, filepath.Join(Path("runs"), "lab")))
	if err != nil {
		return "", fmt.Errorf("find the folder of runs: %w", err)
	}
	return folder, nil
}
