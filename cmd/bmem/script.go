package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/budgetmem/budgetmem/kernel/headless"
)

func newScriptCmd() *cobra.Command {
	var flags runFlags
	cmd := &cobra.Command{
		Use:   "script FILE.go",
		Short: "Run a Go script of notebook cells",
		Long: `Run a Go script whose cells begin with lines //%%, in the kernel that notebooks run in, so that a notebook and its script
do the same ('bmem notebook convert' turns one into the other). What the cells write goes to the terminal; of charts and
tables the text. It fails as 'bmem notebook run' does, and names the line of the script.`,
		Example: `  bmem script ablation.go
  bmem script ablation.go -p questions=4 -p lambda=0.3`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			nb, err := flags.read(args[0])
			if err != nil {
				return err
			}
			options := flags.options(args[0])
			options.Watch = headless.Plain{Out: cmd.OutOrStdout(), Err: cmd.ErrOrStderr()}
			if err := headless.Run(cmd.Context(), nb, options); err != nil {
				return fmt.Errorf("run %s: %w", args[0], err)
			}
			return nil
		},
	}
	flags.bind(cmd.Flags())
	return cmd
}
