package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/budgetmem/budgetmem/serve/mcp"
	"github.com/budgetmem/budgetmem/serve/memory"
)

func newMCPCmd() *cobra.Command {
	var flags systemFlags
	var scope memory.Scope
	var routed routedFlags
	cmd := &cobra.Command{
		Use:   "mcp",
		Short: "Give an agent memories as MCP tools, over standard input and output",
		Long: `Give an agent memories as tools of the Model Context Protocol, over standard input and output: add_memory,
search_memories, get_memory, list_memories, delete_memory and ask_memory. Agents start this command themselves; docs/agents.md has
the line for the usual ones. Every answer says what it cost in tokens, dollars and milliseconds.

With --memory all tools work on that memory alone, so that the agent need not name one. 'bmem serve --memories' offers the same
tools over HTTP at /v1/mcp, for several agents at one time.`,
		Example: `  bmem mcp --memory notes
  bmem mcp --memory notes --policy router:router.json --lambda 0.3
  bmem mcp --memory notes --store postgres://bmem@db.example.com/memories
  bmem mcp --endpoint https://host/v1 --api-key-env KEY --model llama-3.1-8b --max-dollars 5`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			routing, err := routed.options(cmd.Flags(), &flags)
			if err := errors.Join(flags.check(), err); err != nil {
				return err
			}
			sys, err := flags.open(cmd.Context(), cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			defer closing(sys, &err)
			log := newLog(cmd.ErrOrStderr(), false, false)
			err = mcp.ServeStdio(cmd.Context(), memory.New(sys.Memory, memory.Options{Log: log, Routing: routing}), scope, version(), log)
			if cmd.Context().Err() != nil {
				return nil // it was asked to end
			}
			return err
		},
	}
	flags.bind(cmd.Flags())
	flags.calibrated(cmd.Flags())
	routed.bind(cmd.Flags())
	cmd.Flags().StringVar(&scope.Memory, "memory", "", "the only memory `name` that the tools reach (default all)")
	return cmd
}
