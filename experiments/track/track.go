// Package track shows trainings in experiment trackers. A Recorder takes the steps of a training and feeds them to any number
// of sinks, each in its own time, so that a tracker that is slow or away neither stops nor changes the training.
//
// What a sink shows is made from the training's own files: a training that goes on gives its steps again from the first, and
// the sink says which of them it lacks. Nothing that a tracker has not taken can get lost, then, and nothing is shown twice.
package track

import (
	"context"
	"time"
)

// Run is a training that a tracker shows as one run.
type Run struct {
	// ID is the run's name for good: drawn by Trackers.Start and kept in Dir, it is the same whenever the training goes on.
	ID string
	// Training is what runs are grouped by, and Name the run's name in it.
	Training, Name string
	// Dir is a folder that is there, for what has to be kept.
	Dir string
	// Config is what decides the run's result, as JSON values.
	Config map[string]any
	// Commit is the program's version.
	Commit string
}

// Step is what a training measured at a step, by names such as "losses/entropy".
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

// Outcome is how a run ended and what came of it.
type Outcome struct {
	Status Status `json:"status"`
	// Summary has what the whole run is judged by, and Notes what is no number.
	Summary map[string]float64 `json:"summary,omitempty"`
	Notes   map[string]string  `json:"notes,omitempty"`
	// Files are paths by the names that they are shown under.
	Files map[string]string `json:"-"`
}

// Sink is a tracker.
type Sink interface {
	// String says which tracker it is, and where.
	String() string
	// Open opens a run, or takes it up again, and returns the first step that it lacks. After an error of it or of its
	// session it is called again, unless the error is Permanent.
	Open(ctx context.Context, run Run) (s Session, next int, err error)
}

// Session is an open run.
type Session interface {
	// Log takes steps that follow on those before.
	Log(ctx context.Context, steps []Step) error
	// End ends the run, and returns nil when the tracker has all of it.
	End(ctx context.Context, o Outcome) error
	// Close lets go of what the session holds. A run that was not ended stays open.
	Close() error
}

// Permanent is an error of a sink that trying again cannot mend.
type Permanent struct{ Err error }

// Error implements error.
func (p Permanent) Error() string { return p.Err.Error() }

// Unwrap returns the error.
func (p Permanent) Unwrap() error { return p.Err }
