package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/budgetmem/budgetmem/kernel/headless"
	"github.com/budgetmem/budgetmem/kernel/kernelspec"
	"github.com/budgetmem/budgetmem/kernel/notebook"
)

func newNotebookCmd() *cobra.Command {
	var port int
	var noBrowser bool
	cmd := &cobra.Command{
		Use:   "notebook [FILE] [-- ARGUMENT...]",
		Short: "Open JupyterLab on the notebook kernel; run notebooks without a browser, turn them into scripts and back",
		Long: `Open JupyterLab in the working folder, or on a notebook in it, with the kernel "` + kernelspec.DisplayName + `". It listens on this
machine only, and asks for the token that it prints. What follows -- is for JupyterLab itself.`,
		Example: `  bmem notebook
  bmem notebook notebooks/01_quickstart.ipynb
  bmem notebook --no-browser --port 8890
  bmem notebook -- --allow-root`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			files := args
			if n := cmd.ArgsLenAtDash(); n >= 0 {
				files = args[:n]
			}
			if len(files) > 1 {
				return fmt.Errorf("bmem notebook %s: want one file or folder, or a verb: run, convert", strings.Join(files, " "))
			}
			for _, file := range files {
				if _, err := os.Stat(file); err != nil {
					return fmt.Errorf("open a notebook: %w", err)
				}
			}
			return openLab(port, noBrowser, args)
		},
	}
	cmd.Flags().IntVar(&port, "port", 8888, "port to listen on; the next free one if it is taken")
	cmd.Flags().BoolVar(&noBrowser, "no-browser", false, "only print the address")
	cmd.AddCommand(newNotebookRunCmd(), newNotebookConvertCmd())
	return cmd
}

// openLab becomes JupyterLab.
func openLab(port int, noBrowser bool, more []string) error {
	lab, err := kernelspec.JupyterLab()
	if err != nil {
		return err
	}
	data, _, err := kernelspec.Find()
	if err != nil {
		return err
	}
	args := []string{lab, "--ip=127.0.0.1", "--port=" + strconv.Itoa(port), "--MultiKernelManager.default_kernel_name=" + kernelspec.Name}
	if noBrowser {
		args = append(args, "--no-browser")
	}
	// Jupyter may be another one than the one that the kernel was installed for.
	path := strings.Trim(os.Getenv("JUPYTER_PATH")+string(os.PathListSeparator)+data, string(os.PathListSeparator))
	if err := os.Setenv("JUPYTER_PATH", path); err != nil {
		return err
	}
	return fmt.Errorf("start %s: %w", lab, syscall.Exec(lab, append(args, more...), os.Environ()))
}

func newNotebookRunCmd() *cobra.Command {
	var flags runFlags
	var out, page string
	cmd := &cobra.Command{
		Use:   "run FILE",
		Short: "Run a notebook without a browser",
		Long: `Run all cells of a notebook in its kernel, with the notebook's folder as working folder, and save it with its outputs
after every cell. FILE is an .ipynb file, or a Go script of cells (see 'bmem script').

The run fails when a cell fails or takes longer than --timeout, and when at the end no output shows what the notebook
declares to show: names such as chart:frontier or table:results in its metadata under budgetmem.shows. The error names the
cell and its line. An interrupt stops the running cell, and the run with it.

Parameters are the variables and constants that the cell tagged "parameters" declares with a literal. -p gives one another
value, of the same type, for this run: by a cell tagged "injected-parameters" behind that cell, as papermill does.`,
		Example: `  bmem notebook run notebooks/02_locomo.ipynb --html locomo.html
  bmem notebook run notebooks/02_locomo.ipynb -p questions=4 -p lambda=0.3 --out /tmp/locomo.ipynb --timeout 5m`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			file := args[0]
			nb, err := flags.read(file)
			if err != nil {
				return err
			}
			if out == "" {
				out = strings.TrimSuffix(file, filepath.Ext(file)) + ".run.ipynb"
			}
			if notebook.IsScript(out) {
				return fmt.Errorf("--out %s: a script has no outputs; name an .ipynb file", out)
			}
			w := cmd.OutOrStdout()
			options := flags.options(file)
			options.Watch = headless.NewTerminal(w, isTerminal(w))
			options.Save = func(nb *notebook.Notebook) error { return notebook.WriteFile(out, nb) }
			if err := headless.Run(cmd.Context(), nb, options); err != nil {
				return fmt.Errorf("run %s: %w", file, err)
			}
			fmt.Fprintf(w, "saved %s\n", out)
			if page == "" {
				return nil
			}
			if err := headless.ExportHTML(cmd.Context(), nb, page, options.Dir); err != nil {
				return err
			}
			fmt.Fprintf(w, "saved %s\n", page)
			return nil
		},
	}
	flags.bind(cmd.Flags())
	cmd.Flags().StringVar(&out, "out", "", "`file` to save the notebook to, FILE itself if you like (default FILE.run.ipynb beside it)")
	cmd.Flags().StringVar(&page, "html", "", "`file` to export the notebook to, one page that needs no network")
	return cmd
}

// runFlags are those of all verbs that run cells.
type runFlags struct {
	parameters []string
	kernel     string
	timeout    time.Duration
}

func (f *runFlags) bind(flags *pflag.FlagSet) {
	flags.StringArrayVarP(&f.parameters, "param", "p", nil, "value of a parameter, as `name=value`; may be repeated")
	flags.StringVar(&f.kernel, "kernel", "", "Jupyter kernel to run it in (default the one it names, else "+notebook.Kernel+")")
	flags.DurationVar(&f.timeout, "timeout", 0, "how long each cell may take, such as 90s or 10m (default no limit)")
}

// read reads a notebook and gives its parameters their values.
func (f *runFlags) read(file string) (*notebook.Notebook, error) {
	nb, err := notebook.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if nb, err = nb.WithParameters(f.parameters); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return nb, nil
}

func (f *runFlags) options(file string) headless.Options {
	return headless.Options{Kernel: f.kernel, Dir: filepath.Dir(file), Timeout: f.timeout}
}

func newNotebookConvertCmd() *cobra.Command {
	var keep bool
	cmd := &cobra.Command{
		Use:   "convert FROM [TO]",
		Short: "Turn a notebook into a Go script, or back",
		Long: `Turn a notebook into a Go script, or back. Names ending in .go are scripts, all others .ipynb files; without TO it is
FROM with the other ending. Nothing is lost on the way but outputs, and with --keep-outputs those of a notebook that is
written from another one, or anew from its script, are not either: a cell whose source is unchanged keeps what it has.

A script is a Go file of cells, each begun by a line //%%. Text stands in comments behind //%% [markdown]. Behind the
mark stand tags and other metadata, and a first cell //%% [notebook] holds those of the whole notebook:

  //%% [notebook]
  // {"budgetmem": {"shows": ["chart:frontier"]}}

  //%% [markdown]
  // # A title

  //%% tags=["parameters"]

  var questions = 12

  //%%

  func main() { //gonb:%%
  	fmt.Println(questions)
  }

The last cell is in the notebook what GoNB's command %% makes of it, statements without the function around them. Other
commands of GoNB stand behind //gonb: too.`,
		Example: `  bmem notebook convert notebooks/02_locomo.ipynb
  bmem notebook convert locomo.go notebooks/02_locomo.ipynb --keep-outputs
  bmem notebook convert with-outputs.ipynb without.ipynb`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			from := args[0]
			to := strings.TrimSuffix(from, filepath.Ext(from)) + ".go"
			if notebook.IsScript(from) {
				to = strings.TrimSuffix(from, ".go") + ".ipynb"
			}
			if len(args) > 1 {
				to = args[1]
			}
			nb, err := notebook.ReadFile(from)
			if err != nil {
				return err
			}
			switch {
			case !keep:
				nb.ClearOutputs()
			case notebook.IsScript(to):
				return fmt.Errorf("%s: a script keeps no outputs", to)
			case notebook.IsScript(from):
				old, err := notebook.ReadFile(to)
				if err == nil {
					nb.KeepOutputs(old)
				} else if !errors.Is(err, fs.ErrNotExist) {
					return err
				}
			}
			if err := notebook.WriteFile(to, nb); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "wrote %s\n", to)
			return err
		},
	}
	cmd.Flags().BoolVar(&keep, "keep-outputs", false, "keep the outputs of cells whose source is unchanged")
	return cmd
}
