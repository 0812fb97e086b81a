package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/budgetmem/budgetmem/internal/venv"
	"github.com/budgetmem/budgetmem/kernel/kernelspec"
	"github.com/budgetmem/budgetmem/kernel/tools"
	"github.com/budgetmem/budgetmem/serve/api"
	"github.com/budgetmem/budgetmem/serve/registry"
)

func newKernelCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "kernel",
		Short: "Install and look after the notebook kernel " + kernelspec.DisplayName,
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newKernelInstallCmd(), newKernelUninstallCmd(), newKernelDoctorCmd(), newKernelLaunchCmd())
	return cmd
}

// kernelPlace is where Jupyter is to find the kernel.
type kernelPlace struct {
	user   bool
	prefix string
}

func (p *kernelPlace) bind(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&p.user, "user", false, "for every Jupyter of this user")
	cmd.Flags().StringVar(&p.prefix, "prefix", "", "for the Jupyter under this `folder`, such as a Python environment (default the project's .venv, if there is one, else --user)")
	cmd.MarkFlagsMutuallyExclusive("user", "prefix")
}

// dirs are Jupyter's data folder, and the folder for the kernel's programs.
func (p *kernelPlace) dirs() (data, bin string, err error) {
	prefix := p.prefix
	if folders := venv.Folders(); prefix == "" && !p.user && len(folders) > 0 {
		prefix = folders[0]
	}
	if prefix != "" {
		if prefix, err = filepath.Abs(prefix); err != nil {
			return "", "", err
		}
		return kernelspec.PrefixDir(prefix), filepath.Join(prefix, "bin"), nil
	}
	data, err = kernelspec.UserDir()
	return data, filepath.Join(filepath.Dir(kernelspec.Path(data)), "bin"), err
}

func newKernelInstallCmd() *cobra.Command {
	var place kernelPlace
	var source string
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Build the notebook kernel and tell Jupyter of it",
		Long: `Build the notebook kernel's programs (GoNB, goimports, gopls), tell Jupyter of the kernel, and compile the packages that
notebooks use, so that the first cell starts fast. It needs Go, and the sources of this module: those of the checkout that the
program lies in, those in --source, or, for a bmem that 'go install' has built, those of a module proxy.`,
		Example: `  bmem kernel install
  bmem kernel install --user
  bmem kernel install --prefix /opt/jupyter`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return installKernel(cmd.Context(), cmd.OutOrStdout(), place, source)
		},
	}
	place.bind(cmd)
	cmd.Flags().StringVar(&source, "source", "", "`folder` with the sources of this module (default the program's own checkout)")
	return cmd
}

func installKernel(ctx context.Context, out io.Writer, place kernelPlace, source string) error {
	data, bin, err := place.dirs()
	if err != nil {
		return err
	}
	s := kernelspec.Spec{Tools: bin}
	if s.Bmem, err = os.Executable(); err != nil {
		return fmt.Errorf("install the kernel: %w", err)
	}
	goPath, err := exec.LookPath("go")
	if err != nil {
		return fmt.Errorf("install the kernel, whose cells are compiled by Go: %w", err)
	}
	if s.Go, err = filepath.Abs(filepath.Dir(goPath)); err != nil {
		return fmt.Errorf("install the kernel: %w", err)
	}
	if source == "" {
		s.Source, err = tools.Source(ctx)
	} else if s.Source, err = filepath.Abs(source); err == nil {
		err = venv.IsSource(s.Source)
	}
	if err != nil {
		return fmt.Errorf("install the kernel: %w", err)
	}
	fmt.Fprintf(out, "building GoNB, goimports and gopls in %s\n", bin)
	if err := tools.Build(ctx, s.Source, bin); err != nil {
		return err
	}
	path, err := kernelspec.Install(data, s)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "compiling what cells import\n")
	if _, err := s.Compile(ctx); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "kernel %q: %s\n", kernelspec.DisplayName, path)
	return err
}

func newKernelUninstallCmd() *cobra.Command {
	var place kernelPlace
	cmd := &cobra.Command{
		Use:   "uninstall",
		Short: "Have Jupyter forget the notebook kernel",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			data, _, err := place.dirs()
			if err != nil {
				return err
			}
			return kernelspec.Uninstall(data)
		},
	}
	place.bind(cmd)
	return cmd
}

func newKernelDoctorCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look at what notebooks need, and say what to do about what is missing",
		Long: `Look at what notebooks need, build a cell, and say what to do about what is missing.

Ends with status 1 if something is.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			checks := append(kernelspec.Doctor(cmd.Context()), checkServer())
			if asJSON {
				if err := writeJSON(cmd.OutOrStdout(), checks); err != nil {
					return err
				}
			} else if err := printChecks(cmd.OutOrStdout(), checks); err != nil {
				return err
			}
			for _, c := range checks {
				if c.Problem != "" {
					return errors.New("something that notebooks need is missing")
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "write JSON")
	return cmd
}

// checkServer looks for the server that notebooks share. That none runs is right as long as there are no notebooks.
func checkServer() kernelspec.Check {
	c := kernelspec.Check{Name: "server"}
	if url := os.Getenv(api.EnvServer); url != "" {
		c.Found = url + ", by " + api.EnvServer
		return c
	}
	place, err := registry.Default()
	if err != nil {
		c.Problem, c.Do = err.Error(), "set XDG_RUNTIME_DIR to a folder of yours"
		return c
	}
	if a, running := place.Running(); running {
		c.Found = fmt.Sprintf("%s, process %d, log %s", a.URL, a.PID, place.Log())
	} else {
		c.Found = "none runs; the first notebook starts it"
	}
	return c
}

func printChecks(out io.Writer, checks []kernelspec.Check) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, c := range checks {
		if c.Problem == "" {
			fmt.Fprintf(w, "%s\t%s\n", c.Name, c.Found)
		} else {
			fmt.Fprintf(w, "%s\tMISSING: %s\n\t  %s\n", c.Name, c.Problem, c.Do)
		}
	}
	return w.Flush()
}

// newKernelLaunchCmd is what a kernel.json names; its flags are in kernelspec.
func newKernelLaunchCmd() *cobra.Command {
	var s kernelspec.Spec
	cmd := &cobra.Command{
		Use:    "launch CONNECTION_FILE",
		Short:  "Run the kernel for Jupyter, which starts this",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if s.Bmem, err = os.Executable(); err != nil {
				return fmt.Errorf("launch the kernel: %w", err)
			}
			return s.Launch(cmd.Context(), args[0], io.Discard)
		},
	}
	cmd.Flags().StringVar(&s.Tools, "tools", "", "folder with GoNB, goimports and gopls")
	cmd.Flags().StringVar(&s.Source, "source", "", "folder with the sources of this module")
	cmd.Flags().StringVar(&s.Go, "go", "", "folder with the program go")
	return cmd
}
