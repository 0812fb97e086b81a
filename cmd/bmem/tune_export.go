package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/dustin/go-humanize"
	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/budgetmem/budgetmem/internal/models"
	"github.com/budgetmem/budgetmem/tiers/llm/local"
)

func newTuneExportCmd() *cobra.Command {
	var out string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "export NAME+ADAPTER",
		Short: "Write a model with its adapter as one GGUF file, for llama.cpp and others",
		Long: `Write a model with its adapter as one GGUF file, for llama.cpp and others.

The adapter is merged into the matrices that it changes, which become float16; all others stay as they are in the base
model's file. The adapter's licence holds for the file too. Whoever asks the model elsewhere sends the prompt that it was
trained with: the template that the adapter's README names, without worked examples.`,
		Example: `  bmem tune export qwen2.5-coder-0.5b-instruct+runs/mine/best --out mine.gguf`,
		Args:    cobra.ExactArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return exportTuned(cmd, args[0], out, asJSON) },
	}
	cmd.Flags().StringVar(&out, "out", "", "GGUF `file` to write")
	cmd.Flags().BoolVar(&asJSON, "json", false, "write what was made as JSON")
	if err := cmd.MarkFlagRequired("out"); err != nil {
		panic(err) // the flag is defined above
	}
	return cmd
}

func exportTuned(cmd *cobra.Command, name, out string, asJSON bool) error {
	catalogue, err := models.Open()
	if err != nil {
		return err
	}
	m, err := catalogue.Locate(cmd.Context(), name)
	if err != nil {
		return err
	}
	if m.Adapter == "" {
		return fmt.Errorf("%s has no adapter: name one as NAME+ADAPTER", name)
	}
	if a, aerr := os.Stat(m.Path); aerr == nil {
		if b, berr := os.Stat(out); berr == nil && os.SameFile(a, b) {
			return errors.New("--out is the base model's file: write to another")
		}
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return err
	}
	var progress func(done, all int)
	if isTerminal(cmd.ErrOrStderr()) {
		bar := progressbar.NewOptions(0, progressbar.OptionSetWriter(cmd.ErrOrStderr()), progressbar.OptionShowCount(),
			progressbar.OptionSetDescription("tensors"), progressbar.OptionClearOnFinish())
		progress = func(done, all int) {
			bar.ChangeMax(all)
			_ = bar.Set(done) // what cannot be shown is not shown
		}
	}
	if err := local.Export(cmd.Context(), m.Path, m.Adapter, out, progress); err != nil {
		return err
	}
	info, err := os.Stat(out)
	if err != nil {
		return err
	}
	if asJSON {
		return writeJSON(cmd.OutOrStdout(), map[string]any{"file": out, "bytes": info.Size(), "model": m.Name})
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s, %s\n", out, m.Name, humanize.Bytes(uint64(info.Size())))
	return err
}
