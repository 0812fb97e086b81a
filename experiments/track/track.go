// Package track shows trainings in experiment trackers. A Recorder receives the steps of a training and feeds them to any number
// of sinks, each at its own pace, so that a slow or unreachable tracker neither stops nor changes the training.
//
// Steps come from the training's own files: a resumed training records them again from the first, and the sink says which it
// lacks. So nothing gets lost that a tracker has not received, and nothing is shown twice.
package track

import (
	"context"
	"time"
)

// Run is a training that a tracker shows as one run.
type Run struct {
	// ID identifies the run. Trackers.Start draws it and keeps it in Dir, so that a resumed training has the same.
	ID string
	// Training groups runs, and Name is the run's name in the group.
	Training, Name string
	// Dir is an existing folder for the trackers' state.
	Dir string
	// Config holds the settings that decide the run's result, as JSON values.
	Config map[string]any
	// Commit is the program's version.
	Commit string
}

// Step holds the measurements of a training step, by names such as "losses/entropy".
type Step struct {
	// Step counts from 0 and grows by one.
	Step int
	Time time.Time
	// Values are finite.
	Values map[string]float64
}

// Status says how a run ended.
type Status string

// The ways to end. Runs that Failed or were Killed may go on.
const (
	Finished Status = "finished"
	Failed   Status = "failed"
	Killed   Status = "killed"
)

// Outcome says how a run ended, with its results.
type Outcome struct {
	Status Status `json:"status"`
	// Summary holds the numbers that sum up the whole run, and Notes texts.
	Summary map[string]float64 `json:"summary,omitempty"`
	Notes   map[string]string  `json:"notes,omitempty"`
	// Files maps the names that files are shown under to their paths.
	Files map[string]string `json:"-"`
}

// Sink is a tracker.
type Sink interface {
	// String names the tracker and where it is.
	String() string
	// Open opens or reopens a run and returns the index of the first step that the sink lacks. After an error of Open or of
	// the session it is called again, unless the error is Permanent.
	Open(ctx context.Context, run Run) (s Session, next int, err error)
}

// Session is an open run.
type Session interface {
	// Log sends steps that follow the ones before.
	Log(ctx context.Context, steps []Step) error
	// End ends the run, and returns nil once the tracker has everything.
	End(ctx context.Context, o Outcome) error
	// Close releases the session's resources. A run that was not ended stays open.
	Close() error
}

// Permanent wraps an error of a sink that does not go away by trying again.
type Permanent struct{ Err error }

// Error implements error.
func (p Permanent) Error() string { return p.Err.Error() }

// Unwrap returns the error.
func (p Permanent) Unwrap() error { return p.Err }
