// Command bmem runs BudgetMem: asks questions of a memory, runs the benchmarks, and looks after models and data.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"

	"github.com/budgetmem/budgetmem/experiments/run"
	"github.com/spf13/cobra"

	"github.com/budgetmem/budgetmem/bmem/chunk"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50) // models need the memory more than the program needs the time
	}
	root := newRoot()
	if isTerminal(os.Stdout) {
		root.SetOut(&terminal{w: os.Stdout})
	}
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bmem:", chunk.Plain(err.Error())) // it may quote a file or a reply
		os.Exit(1)
	}
}

// newRoot assembles the verbs; each lives in a file of its name.
func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "bmem",
		Short:         "Runtime agent memory that treats compute as money",
		Version:       version(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(newAskCmd(), newDataCmd(), newDemoCmd(), newDoctorCmd(), newEvalCmd(), newCalibrateCmd(), newFrontierCmd(), newKernelCmd(), newMCPCmd(), newMemoryCmd(), newModelsCmd(), newNATSCmd(), newNotebookCmd(), newQuickstartCmd(), newRouterCmd(), newReportCmd(), newScoreCmd(), newScriptCmd(), newServeCmd(), newStatsCmd(), newTracesCmd(), newTrainCmd(), newTuneCmd(), newWorkerCmd())
	strict(root)
	return root
}

// strict makes groups of verbs refuse a verb that they lack, where cobra prints their help and ends with success, and puts a
// verb's usage behind an error about the number of its arguments.
func strict(c *cobra.Command) {
	for _, sub := range c.Commands() {
		strict(sub)
	}
	switch args := c.Args; {
	case c.HasSubCommands() && !c.Runnable():
		c.RunE = func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return c.Help()
			}
			return fmt.Errorf("unknown command %q for %q: see '%s --help'", args[0], c.CommandPath(), c.CommandPath())
		}
	case args != nil:
		c.Args = func(c *cobra.Command, given []string) error {
			if err := args(c, given); err != nil {
				return fmt.Errorf("%w\nusage: %s", err, c.UseLine())
			}
			return nil
		}
	}
}

// version is the module's version and the commit that the program was built from, as far as the build knows them.
func version() string {
	v := "(devel)"
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		v = info.Main.Version
	}
	return v + ", commit " + run.Commit() + ", " + runtime.Version()
}
