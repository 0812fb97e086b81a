// Package wandb shows trainings in Weights & Biases through its Python client, which runs as a process beside the training.
//
// Offline, a run is written into a folder that `wandb sync` uploads later. Every start of the training writes the folder again
// from the first step, so that it always holds all steps; uploading it again replaces the earlier upload. Online, the server
// says which steps it has.
package wandb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/budgetmem/budgetmem/experiments/track"
	"github.com/budgetmem/budgetmem/internal/private"
)

// The modes.
const (
	Offline = "offline"
	Online  = "online"
)

// keyEnv is the environment variable that the client takes its key from, online.
const keyEnv = "WANDB_API_KEY"

// Options says where runs go.
type Options struct {
	// Mode is Offline or Online, Project the W&B project.
	Mode, Project string
	// Python is an interpreter that has the package wandb.
	Python string
}

// ErrNoClient is the error of New if the client is not installed.
var ErrNoClient = errors.New("no package wandb")

// Sink is a track.Sink.
type Sink struct {
	Options
}

// New checks the options, and that there is a client. An unknown mode, no project, and no key for Online are errors; without a
// client the error wraps ErrNoClient.
func New(ctx context.Context, o Options) (*Sink, error) {
	switch {
	case o.Mode != Offline && o.Mode != Online:
		return nil, fmt.Errorf("W&B mode %q: there are %s and %s", o.Mode, Offline, Online)
	case o.Mode == Online && os.Getenv(keyEnv) == "":
		return nil, fmt.Errorf("W&B mode %s: set %s", Online, keyEnv)
	case o.Project == "":
		return nil, errors.New("W&B needs the name of a project")
	}
	const look = "import importlib.util, sys; sys.exit(importlib.util.find_spec('wandb') is None)"
	if out, err := exec.CommandContext(ctx, o.Python, "-c", look).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%s has %w (%w)", o.Python, ErrNoClient, cmp.Or(said(out), err))
	}
	return &Sink{o}, nil
}

// said returns a process's output as an error, nil if there was none.
func said(out []byte) error {
	if text := strings.TrimSpace(string(out)); text != "" {
		return errors.New(text)
	}
	return nil
}

// String implements track.Sink.
func (s *Sink) String() string { return fmt.Sprintf("W&B %s, project %s", s.Mode, s.Project) }

// Open implements track.Sink. A run's files are in Dir/wandb; the client first removes the offline run of an earlier start.
// It fails if the client does not start or reports an error.
func (s *Sink) Open(ctx context.Context, run track.Run) (track.Session, int, error) {
	dir, err := filepath.Abs(filepath.Join(run.Dir, "wandb"))
	if err == nil {
		err = private.Dir(dir)
	}
	if err != nil {
		return nil, 0, track.Permanent{Err: fmt.Errorf("make room for the run: %w", err)}
	}
	p, err := s.start(ctx, dir)
	if err != nil {
		return nil, 0, err
	}
	config := map[string]any{"commit": run.Commit}
	maps.Copy(config, run.Config)
	err = p.send(map[string]any{"mode": s.Mode, "dir": filepath.Dir(dir), "id": run.ID, "project": s.Project, "group": run.Training,
		"name": run.Training + " " + run.Name, "config": config, "timeout": patience.Seconds()})
	if err != nil {
		return nil, 0, errors.Join(err, p.Close())
	}
	opened, err := p.receive()
	if err != nil {
		return nil, 0, errors.Join(err, p.Close())
	}
	return p, opened.Next, nil
}
