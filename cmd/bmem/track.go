package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"

	"github.com/budgetmem/budgetmem/experiments/track"
	"github.com/budgetmem/budgetmem/experiments/track/mlflow"
	"github.com/budgetmem/budgetmem/experiments/track/wandb"
	"github.com/budgetmem/budgetmem/internal/venv"
)

// The environment variables that MLflow's own client takes secrets from.
const (
	mlflowToken    = "MLFLOW_TRACKING_TOKEN"
	mlflowUsername = "MLFLOW_TRACKING_USERNAME"
	mlflowPassword = "MLFLOW_TRACKING_PASSWORD"
)

// trackFlags say which experiment trackers show a training.
type trackFlags struct {
	wandb, wandbProject, python string
	mlflow, mlflowExperiment    string
}

func (f *trackFlags) bind(flags *pflag.FlagSet) {
	flags.StringVar(&f.wandb, "wandb", "", "show the training in Weights & Biases; `mode` offline writes into the run's folder, online sends")
	flags.StringVar(&f.wandbProject, "wandb-project", "budgetmem", "W&B project")
	flags.StringVar(&f.python, "python", "", "Python with the package wandb; by default that of .venv/track, of .venv, or python3, whichever has it")
	flags.StringVar(&f.mlflow, "mlflow", "", "show the training in the MLflow server at this `URL`")
	flags.StringVar(&f.mlflowExperiment, "mlflow-experiment", "budgetmem", "MLflow experiment")
}

// sinks opens the trackers that were asked for, which need not be reachable yet.
func (f *trackFlags) sinks(ctx context.Context) ([]track.Sink, error) {
	var out []track.Sink
	if f.wandb != "" {
		s, err := f.openWandb(ctx)
		if err != nil {
			return nil, fmt.Errorf("--wandb: %w", err)
		}
		out = append(out, s)
	}
	if f.mlflow != "" {
		s, err := mlflow.New(mlflow.Options{URL: f.mlflow, Experiment: f.mlflowExperiment,
			Token: os.Getenv(mlflowToken), Username: os.Getenv(mlflowUsername), Password: os.Getenv(mlflowPassword)})
		if err != nil {
			return nil, fmt.Errorf("--mlflow: %w", err)
		}
		out = append(out, s)
	}
	return out, nil
}

func (f *trackFlags) openWandb(ctx context.Context) (track.Sink, error) {
	pythons := []string{f.python}
	if f.python == "" {
		pythons = nil
		for _, folder := range venv.Folders() {
			for _, path := range []string{filepath.Join(folder, "track", "bin", "python"), filepath.Join(folder, "bin", "python")} {
				if _, err := os.Stat(path); err == nil {
					pythons = append(pythons, path)
				}
			}
		}
		pythons = append(pythons, "python3")
	}
	var errs []error
	for _, python := range pythons {
		s, err := wandb.New(ctx, wandb.Options{Mode: f.wandb, Project: f.wandbProject, Python: python})
		if !errors.Is(err, wandb.ErrNoClient) {
			return s, err
		}
		errs = append(errs, err)
	}
	return nil, fmt.Errorf("%w\ninstall it (in a checkout by `make trackers`), or give --python", errors.Join(errs...))
}
