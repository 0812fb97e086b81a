package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"

	"github.com/dustin/go-humanize/english"
	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/budgetmem/budgetmem/bmem"
	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/bmem/conversation"
	"github.com/budgetmem/budgetmem/bmem/setup"
	"github.com/budgetmem/budgetmem/bmem/setup/inprocess"
)

// ingestFlags are the flags of the verbs that embed but ask no model.
type ingestFlags struct {
	system systemFlags
	asJSON bool
}

func (f *ingestFlags) bind(cmd *cobra.Command) {
	flags, s := cmd.Flags(), &f.system.spec
	bindWhere(cmd, &s.CacheDir, &s.Store)
	flags.StringVar(&f.system.backend, "backend", "", "what computes local models: "+inprocess.Backends+" (default $BUDGETMEM_BACKEND, else auto)")
	flags.StringVar(&s.Embedder, "embedder", "", "embed at an endpoint, given as `NAME@URL` (default "+setup.Embedder+" on this machine)")
	bindRetrieval(flags, s)
	flags.StringArrayVar(&s.KeyEnv, "api-key-env", nil, "URL=NAME: environment `variable` with the key of the embedder's endpoint")
	flags.StringVar(&s.Prices, "prices", "", "YAML file with prices over the built-in ones")
	flags.BoolVar(&s.AllowUnpriced, "allow-unpriced", false, "count a model without a price as free instead of refusing it")
	flags.Float64Var(&s.MaxDollars, "max-dollars", 0, "spend limit in dollars; 0 sets none")
	flags.BoolVar(&f.asJSON, "json", false, "write JSON")
}

// open opens the memory without an answering model.
func (f *ingestFlags) open(ctx context.Context, w io.Writer, progress func(memory string, done, total int)) (*setup.System, error) {
	if err := inprocess.Check(f.system.backend); err != nil {
		return nil, err
	}
	s := f.system.spec
	s.IngestOnly, s.Progress = true, progress
	s.Engine = inprocess.New(f.system.backend, slog.New(slog.NewTextHandler(w, nil)))
	return setup.Open(ctx, s)
}

// addBatch is how many turns are stored and embedded between two steps of the progress bar, and the most that an interrupt makes
// to be done again.
const addBatch = 256

func newMemoryAddCmd() *cobra.Command {
	var f ingestFlags
	var name, expires string
	var keepKnown bool
	cmd := &cobra.Command{
		Use:   "add FILE",
		Short: "Add a conversation to a memory",
		Long: `Add a conversation to a memory, which is made if it is not there.

The form of the file is recognised: one turn a line as JSON, a list of turns, messages with a role and content, exports of
ChatGPT, Claude, Telegram, Slack, Discord and WhatsApp, Markdown, and plain text. An export may be a file, the folder or the zip file
that the program gives; - is the standard input. A file of any size is read in pieces; it is checked to its end before the first turn
is added. Turns that are there already are skipped, so a file that has grown can be added again, and an interrupted addition goes
on where it stopped. A turn whose id is there with another text is an error, or kept as it is stored with --keep-known. No language
model is called.`,
		Example: `  bmem memory add talk.jsonl
  bmem memory add --name work "WhatsApp Chat with Ann.txt"
  bmem memory add --name team "Acme Slack export.zip"
  bmem memory add --name scratch --expires 30d notes.md
  bmem memory add --keep-known talk.jsonl`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			var opts []bmem.AddOption
			if expires != "" {
				at, err := expiryAt(expires)
				if err != nil {
					return fmt.Errorf("--expires: %w", err)
				}
				opts = append(opts, bmem.WithExpiry(at))
			}
			if keepKnown {
				opts = append(opts, bmem.WithKnownKept())
			}
			talk, source, err := openConversation(cmd, args[0])
			if err != nil {
				return err
			}
			defer closing(talk, &err)
			switch {
			case name != "":
			case args[0] == stdin:
				name = bmem.DefaultMemory
			default:
				name = memoryName(args[0])
			}
			sys, err := f.open(cmd.Context(), cmd.ErrOrStderr(), nil)
			if err != nil {
				return err
			}
			defer closing(sys, &err)
			added, err := addTurns(cmd.Context(), cmd.ErrOrStderr(), sys.Memory, name, talk.All(), talk.Turns, opts)
			if errors.Is(err, bmem.ErrTurnExists) {
				return fmt.Errorf("%w; --keep-known keeps what is stored under such ids, as after bmem memory edit", err)
			} else if err != nil {
				return err
			}
			if f.asJSON {
				return writeJSON(cmd.OutOrStdout(), struct {
					Memory string `json:"memory"`
					Form   string `json:"form"`
					bmem.Added
					LeftOut int            `json:"left_out"`
					Kinds   map[string]int `json:"left_out_kinds"`
				}{name, talk.Form, added, talk.Skipped, talk.LeftOut})
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s, read as %s: %s added to %q, %d were there already; left out: %s\n",
				source, talk.Form, english.Plural(added.New, "turn", ""), name, added.Skipped, talk.LeftOutText())
			return err
		},
	}
	f.bind(cmd)
	cmd.Flags().StringVar(&name, "name", "", "the memory's name (default the file's, without its ending)")
	cmd.Flags().StringVar(&expires, "expires", "", "when the turns are forgotten by themselves: a time, a day, or how long from now (36h, 30d, 2w)")
	cmd.Flags().BoolVar(&keepKnown, "keep-known", false, "keep what is stored where a turn has the id of another text, as after bmem memory edit")
	return cmd
}

// stdin is the argument that means the standard input.
const stdin = "-"

// openConversation reads a file, or the standard input, to its end to check it, and shows on a terminal how far it is. source
// is what it is called.
func openConversation(cmd *cobra.Command, arg string) (talk *conversation.File, source string, err error) {
	if arg == stdin {
		talk, err = conversation.OpenStream(cmd.Context(), cmd.InOrStdin(), "standard input")
		return talk, "standard input", err
	}
	var progress func(done, total int64)
	if isTerminal(cmd.ErrOrStderr()) {
		var bar *progressbar.ProgressBar
		progress = func(done, total int64) {
			if bar == nil && total > largeFile {
				bar = progressbar.NewOptions64(total, progressbar.OptionSetWriter(cmd.ErrOrStderr()), progressbar.OptionShowBytes(true),
					progressbar.OptionSetDescription("reading"), progressbar.OptionClearOnFinish())
			}
			if bar != nil {
				_ = bar.Set64(done) // what cannot be shown is not shown
			}
		}
	}
	talk, err = conversation.Open(cmd.Context(), arg, progress)
	return talk, arg, err
}

// largeFile is the size in bytes from which reading a file takes long enough to be shown.
const largeFile = 4 << 20

// addTurns adds turns in batches and shows on a terminal how far it is.
func addTurns(ctx context.Context, w io.Writer, m *bmem.Memory, name string, turns iter.Seq2[chunk.Turn, error], total int, opts []bmem.AddOption) (sum bmem.Added, err error) {
	var bar *progressbar.ProgressBar
	if total > addBatch && isTerminal(w) {
		bar = progressbar.NewOptions(total, progressbar.OptionSetWriter(w), progressbar.OptionShowCount(), progressbar.OptionShowIts(),
			progressbar.OptionSetItsString("turns"), progressbar.OptionSetPredictTime(true), progressbar.OptionSetDescription("adding"), progressbar.OptionClearOnFinish())
	}
	var batch []chunk.Turn
	add := func() error {
		added, err := m.Add(ctx, name, batch, opts...)
		if err != nil {
			return fmt.Errorf("after %d turns: %w", sum.New+sum.Skipped, err)
		}
		sum.New, sum.Skipped = sum.New+added.New, sum.Skipped+added.Skipped
		if bar != nil {
			_ = bar.Add(len(batch)) // what cannot be shown is not shown
		}
		batch = batch[:0]
		return nil
	}
	for t, err := range turns {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return sum, fmt.Errorf("after %d turns: %w", sum.New+sum.Skipped, err)
		}
		if batch = append(batch, t); len(batch) == addBatch {
			if err := add(); err != nil {
				return sum, err
			}
		}
	}
	if len(batch) > 0 {
		return sum, add()
	}
	return sum, nil
}

func newMemoryEditCmd() *cobra.Command {
	var f ingestFlags
	var speaker, date string
	cmd := &cobra.Command{
		Use:   "edit NAME ID TEXT",
		Short: "Replace the text of a turn; the old text is forgotten",
		Example: `  bmem memory edit talk 1:2 "I moved to Basel."
  bmem memory edit talk 1:2 --speaker Rita --time "4 May 2024" "I moved to Basel."`,
		Args: cobra.ExactArgs(3),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			sys, err := f.open(cmd.Context(), cmd.ErrOrStderr(), nil)
			if err != nil {
				return err
			}
			defer closing(sys, &err)
			stored, err := sys.Memory.Turn(cmd.Context(), args[0], args[1])
			if err != nil {
				return err
			}
			t := stored.Turn
			t.Text = args[2]
			if cmd.Flags().Changed("speaker") {
				t.Speaker = speaker
			}
			if cmd.Flags().Changed("time") {
				t.Time = date
			}
			if err := sys.Memory.Edit(cmd.Context(), args[0], t); err != nil {
				return err
			}
			if f.asJSON {
				return writeJSON(cmd.OutOrStdout(), t)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "turn %s is now: %s\n", t.ID, t.String())
			return err
		},
	}
	f.bind(cmd)
	cmd.Flags().StringVar(&speaker, "speaker", "", "another speaker")
	cmd.Flags().StringVar(&date, "time", "", "another time")
	return cmd
}
