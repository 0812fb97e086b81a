package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/budgetmem/budgetmem/bmem/setup"
	"github.com/budgetmem/budgetmem/cmd/bmem/doctor"
	"github.com/budgetmem/budgetmem/internal/backend"
	"github.com/budgetmem/budgetmem/serve/tenant"
	"github.com/budgetmem/budgetmem/tiers/llm"
)

func newDoctorCmd() *cobra.Command {
	var spec string
	var asJSON, check bool
	var cache string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look at what this machine has, how fast it is, and what to do about what is missing",
		Long: `Look at what this machine has, how fast it is, and what to do about what is missing.

With --check it reads the stores of memories, replies and tenants' spending instead, and says what in them is damaged.

Ends with status 1 if something is missing that nothing works without, or damaged.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if check {
				return checkStores(cmd.Context(), cmd.OutOrStdout(), cache)
			}
			// What the backend would log stands in the report.
			r, err := doctor.Check(cmd.Context(), spec, slog.New(slog.DiscardHandler))
			if err != nil {
				return err
			}
			if asJSON {
				err = writeJSON(cmd.OutOrStdout(), r)
			} else {
				err = printReport(cmd.OutOrStdout(), r)
			}
			if err == nil && !r.OK() {
				err = errors.New("something necessary is missing")
			}
			return err
		},
	}
	cmd.Flags().StringVar(&spec, "backend", "", "backend to look at: "+backend.Specs+" (default $"+backend.Env+", else auto)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "write JSON")
	cmd.Flags().BoolVar(&check, "check", false, "read the stores of memories, replies and spending in full, and compare entries with their checksums")
	cmd.Flags().StringVar(&cache, "cache", "", "folder of the stores (default $"+setup.EnvCache+", else the user's cache folder)")
	return cmd
}

// checkStores reads the stores in a folder. Those that are not there are left alone.
func checkStores(ctx context.Context, out io.Writer, dir string) error {
	dir, err := setup.CacheDir(dir)
	if err != nil {
		return err
	}
	there := func(name string) (string, bool) {
		path := filepath.Join(dir, name)
		_, err := os.Stat(path)
		return path, !errors.Is(err, fs.ErrNotExist)
	}
	var errs []error
	if path, ok := there(setup.RepliesFile); ok {
		n, err := checkReplies(ctx, path)
		if errs = append(errs, err); err == nil {
			fmt.Fprintf(out, "%s: %d replies, all sound\n", path, n)
		}
	}
	if path, ok := there(tenant.LedgerFile); ok {
		n, err := checkSpending(ctx, path)
		if errs = append(errs, err); err == nil {
			fmt.Fprintf(out, "%s: spending in %d entries, all sound\n", path, n)
		}
	}
	if _, ok := there(setup.MemoryFile); ok || os.Getenv(setup.EnvStore) != "" {
		errs = append(errs, checkMemory(ctx, out, dir))
	}
	if len(errs) == 0 {
		fmt.Fprintf(out, "%s: no stores\n", dir)
	}
	return errors.Join(errs...)
}

func checkReplies(ctx context.Context, path string) (n int, err error) {
	c, err := llm.OpenCache(path)
	if err != nil {
		return 0, err
	}
	defer closing(c, &err)
	return c.Check(ctx)
}

func checkSpending(ctx context.Context, path string) (n int, err error) {
	l, err := tenant.OpenLedger(path)
	if err != nil {
		return 0, err
	}
	defer closing(l, &err)
	return l.Check(ctx)
}

func checkMemory(ctx context.Context, out io.Writer, dir string) (err error) {
	s, err := setup.OpenStore(ctx, "", dir)
	if err != nil {
		return err
	}
	defer closing(s, &err)
	if err := s.Check(ctx); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s: sound\n", s)
	return err
}

func printReport(out io.Writer, r doctor.Report) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	p := r.Program
	fmt.Fprintf(w, "program\t%s, %s/%s, %d CPUs, SIMD %s, cgo %s\n", p.Go, p.OS, p.Arch, p.CPUs, yesNo(p.SIMD), yesNo(p.CGO))
	if r.Backend.Kind != "" {
		fmt.Fprintf(w, "backend\t%s (%s) %s\n", r.Backend.Kind, r.Backend.Why, r.Backend.Plugin)
	}
	for _, plugin := range r.Plugins {
		if plugin.Path != r.Backend.Plugin {
			fmt.Fprintf(w, "other plugin\t%s %s\n", plugin.Kind, plugin.Path)
		}
	}
	fmt.Fprintf(w, "speed\t%.0f GFLOP/s, %.0f texts/s embedded\n", r.Speed.GFLOPS, r.Speed.TextsPerSecond)
	fmt.Fprintf(w, "memory\t%s free\n", size(r.MemoryFree))
	fmt.Fprintf(w, "disk\t%s free in %s\n", size(r.DiskFree), r.ModelsDir)
	for _, m := range r.Models {
		fmt.Fprintf(w, "model\t%s: %s, %s, sha256 %.12s\n", m.Name, m.State, humanize.Bytes(uint64(m.Bytes)), m.SHA256)
	}
	if r.Server != nil {
		printServer(w, *r.Server)
	}
	for _, d := range r.Data {
		fmt.Fprintf(w, "data\t%s: %s\n", d.Name, cmp.Or(strings.Join(d.Splits, ", "), "nothing"))
		for _, m := range d.Missing {
			fmt.Fprintf(w, "\t  not here: %s\n", m)
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(out)
	if r.OK() {
		fmt.Fprintln(out, "All that is necessary is here.")
	}
	if left := optional(r); left != "" {
		fmt.Fprintf(out, "Not here, and needed by those who name it only: %s.\n", left)
	}
	for _, p := range r.Problems {
		label := "could be better"
		if p.Necessary {
			label = "MISSING"
		}
		if _, err := fmt.Fprintf(out, "%s: %s\n  %s\n", label, p.What, p.Do); err != nil {
			return err
		}
	}
	return nil
}

// optional lists the models and data that are not here and that nothing needs by itself.
func optional(r doctor.Report) string {
	var left []string
	for _, m := range r.Models {
		if m.State == doctor.Missing && m.Name != setup.Embedder {
			left = append(left, "model "+m.Name)
		}
	}
	for _, d := range r.Data {
		if len(d.Missing) > 0 {
			left = append(left, "parts of the data set "+d.Name)
		}
	}
	return strings.Join(left, ", ")
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// size writes a number of bytes, of which 0 is an unknown one.
func size(bytes uint64) string {
	if bytes == 0 {
		return "unknown"
	}
	return humanize.Bytes(bytes)
}
