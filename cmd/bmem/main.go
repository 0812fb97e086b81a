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
	if err := newRoot().ExecuteContext(ctx); err != nil {
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
	root.AddCommand(newAskCmd(), newDataCmd(), newDemoCmd(), newDoctorCmd(), newEvalCmd(), newFrontierCmd(), newKernelCmd(), newMCPCmd(), newMemoryCmd(), newModelsCmd(), newNotebookCmd(), newQuickstartCmd(), newRouterCmd(), newReportCmd(), newScoreCmd(), newScriptCmd(), newServeCmd(), newStatsCmd(), newTracesCmd(), newTrainCmd(), newTuneCmd())
	return root
}

// version is the module's version and the commit that the program was built from, as far as the build knows them.
func version() string {
	v := "(devel)"
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		v = info.Main.Version
	}
	return v + ", commit " + run.Commit() + ", " + runtime.Version()
}
