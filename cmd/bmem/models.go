package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/budgetmem/budgetmem/internal/models"
	"github.com/budgetmem/budgetmem/tiers/llm/local/adapter"
)

func newModelsCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "models",
		Short: "List, fetch and check the models that run on this machine",
		Long: "List, fetch and check the models that run on this machine. They are kept in the folder that " + models.EnvDir +
			" names, else in the user's cache folder.",
	}
	var asJSON bool
	cmd.PersistentFlags().BoolVar(&asJSON, "json", false, "print JSON")

	cmd.AddCommand(&cobra.Command{
		Use:   "list",
		Short: "Show every known model and whether it is here, and the adapters in the folder adapters",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return listModels(cmd, asJSON) },
	})
	var again bool
	pull := &cobra.Command{
		Use:   "pull [NAME...]",
		Short: "Fetch models; without a name, the best answering model that can be had",
		RunE:  func(cmd *cobra.Command, names []string) error { return pullModels(cmd, names, again, asJSON) },
	}
	pull.Flags().BoolVar(&again, "again", false, "choose the default model again, even if one is chosen and here")
	cmd.AddCommand(pull)
	cmd.AddCommand(&cobra.Command{
		Use:   "verify [NAME...]",
		Short: "Hash the files of models, by default of all that are here",
		RunE:  func(cmd *cobra.Command, names []string) error { return verifyModels(cmd, names, asJSON) },
	})
	return cmd
}

// modelRow is a line of `bmem models list`.
type modelRow struct {
	models.Model
	Size  int64  `json:"size"`           // bytes
	State string `json:"state"`          // "here", "missing" or "damaged"
	Path  string `json:"path,omitempty"` // when here
}

func listModels(cmd *cobra.Command, asJSON bool) error {
	c, err := models.Open()
	if err != nil {
		return err
	}
	var rows []modelRow
	for _, m := range c.Models {
		row := modelRow{Model: m, Size: m.Size(), State: "here"}
		var damaged *models.HashError
		row.Path, err = c.Path(cmd.Context(), m.Name)
		switch {
		case errors.Is(err, models.ErrMissing):
			row.State = "missing"
		case errors.As(err, &damaged):
			row.State = "damaged"
		case err != nil:
			return err
		}
		rows = append(rows, row)
	}
	adapters, err := c.Adapters()
	if err != nil {
		return err
	}
	for _, a := range adapters {
		rows = append(rows, adapterRow(a))
	}
	if asJSON {
		return writeJSON(cmd.OutOrStdout(), rows)
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tSTATE\tSIZE\tLICENCE\tFROM\tWHAT")
	for _, r := range rows {
		from := r.Repo
		if len(r.Wheels) > 0 {
			from += ", wheels"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", r.Name, r.State, humanize.Bytes(uint64(r.Size)), r.Licence, from, r.About)
	}
	return w.Flush()
}

// adapterRow describes an adapter by what stands in its file.
func adapterRow(a models.Adapter) modelRow {
	row := modelRow{Model: models.Model{Name: a.Base + "+" + a.Name}, State: "here", Path: a.Dir}
	if info, err := os.Stat(filepath.Join(a.Dir, adapter.WeightsFile)); err == nil {
		row.Size = info.Size()
	}
	read, err := adapter.Read(a.Dir)
	if err != nil {
		row.State, row.About = "damaged", err.Error()
		return row
	}
	var data []string
	for _, d := range read.Info.Data {
		data = append(data, fmt.Sprintf("%d examples of %s", d.Examples, d.Name))
	}
	row.Licence, row.About = read.Info.License, "adapter of "+cmp.Or(strings.Join(data, ", "), "unknown examples")
	return row
}

// pulledRow is the outcome of pulling one model.
type pulledRow struct {
	Name string `json:"name"`
	models.Pulled
	Reason  string `json:"reason,omitempty"` // why this one, when none was named
	Warning string `json:"warning,omitempty"`
}

func pullModels(cmd *cobra.Command, names []string, again, asJSON bool) error {
	c, err := models.Open()
	if err != nil {
		return err
	}
	progress, end := newPullProgress(cmd.ErrOrStderr())
	defer end()
	var rows []pulledRow
	if len(names) == 0 {
		m, reason, pulled, err := c.PullDefault(cmd.Context(), again, progress)
		if err != nil {
			return err
		}
		rows = append(rows, pulledRow{m.Name, pulled, reason, m.Warning})
	}
	for _, name := range names {
		pulled, err := c.Pull(cmd.Context(), name, progress)
		if err != nil {
			return err
		}
		m, err := c.Find(name)
		if err != nil {
			return err
		}
		rows = append(rows, pulledRow{name, pulled, "", m.Warning})
	}
	end()
	if asJSON {
		return writeJSON(cmd.OutOrStdout(), rows)
	}
	for _, r := range rows {
		fmt.Fprintf(cmd.OutOrStdout(), "%s: %s (from %s)\n", r.Name, r.Path, r.Source)
		for _, note := range r.Notes {
			fmt.Fprintf(cmd.OutOrStdout(), "  not from %s\n", note)
		}
		if r.Reason != "" {
			fmt.Fprintf(cmd.OutOrStdout(), "  chosen: %s\n", r.Reason)
		} else if r.Warning != "" {
			fmt.Fprintf(cmd.OutOrStdout(), "  warning: %s\n", r.Warning)
		}
	}
	return nil
}

// newPullProgress shows pulls on w: as a bar on a terminal, else as a line every few seconds. end leaves the line of
// the bar; it may be called twice.
func newPullProgress(w io.Writer) (show models.Progress, end func()) {
	if !isTerminal(w) {
		var last time.Time
		return func(e models.Event) {
			if time.Since(last) >= 5*time.Second {
				last = time.Now()
				fmt.Fprintf(w, "%s: %s of %s, %s\n", e.Model, humanize.Bytes(uint64(e.Done)), humanize.Bytes(uint64(e.Total)), e.Source)
			}
		}, func() {}
	}
	var bar *progressbar.ProgressBar
	var model string
	end = func() {
		if bar != nil {
			_ = bar.Exit() // only draws
			fmt.Fprintln(w)
			bar = nil
		}
	}
	return func(e models.Event) {
		if bar == nil || model != e.Model {
			end()
			model = e.Model
			bar = progressbar.NewOptions64(e.Total, progressbar.OptionSetWriter(w), progressbar.OptionShowBytes(true),
				progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionSetPredictTime(true), progressbar.OptionFullWidth())
		}
		bar.Describe(e.Model + ", " + e.Source)
		_ = bar.Set64(e.Done) // only draws
	}, end
}

func verifyModels(cmd *cobra.Command, names []string, asJSON bool) error {
	c, err := models.Open()
	if err != nil {
		return err
	}
	all := len(names) == 0
	if all {
		for _, m := range c.Models {
			names = append(names, m.Name)
		}
	}
	checked, bad := []models.FileStatus{}, 0
	for _, name := range names {
		files, err := c.Verify(cmd.Context(), name)
		if err != nil {
			return err
		}
		if all && allMissing(files) {
			continue
		}
		for _, f := range files {
			checked = append(checked, f)
			if !f.OK {
				bad++
			}
		}
	}
	if asJSON {
		err = writeJSON(cmd.OutOrStdout(), checked)
	} else {
		err = printStatus(cmd.OutOrStdout(), checked)
	}
	if err != nil {
		return err
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d files are missing or not what they should be: `bmem models pull NAME` replaces them", bad, len(checked))
	}
	return nil
}

func allMissing(files []models.FileStatus) bool {
	for _, f := range files {
		if !f.Missing {
			return false
		}
	}
	return true
}

func printStatus(w io.Writer, files []models.FileStatus) error {
	for _, f := range files {
		state := "ok"
		switch {
		case f.Missing:
			state = "missing"
		case !f.OK:
			state = "wrong: SHA-256 " + f.Got + ", want " + f.Want
		}
		if _, err := fmt.Fprintf(w, "%s  %s\n", f.File, state); err != nil {
			return err
		}
	}
	if len(files) == 0 {
		_, err := fmt.Fprintln(w, "no models here: `bmem models pull` fetches one")
		return err
	}
	return nil
}
