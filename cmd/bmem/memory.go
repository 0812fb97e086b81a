package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/dustin/go-humanize/english"
	"github.com/spf13/cobra"

	"github.com/budgetmem/budgetmem/bmem"
	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/bmem/setup"
	"github.com/budgetmem/budgetmem/internal/atomicfile"
	"github.com/budgetmem/budgetmem/tiers/llm"
)

func newMemoryCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "memory",
		Short: "List, read, add to, correct, forget, export and check memories",
		Long: `List, read, add to, correct, forget, export and check memories.

Memories lie in memory.db of the cache folder, readable by their owner only. Several programs may use them at the same time. What
is forgotten is gone from the files when the command ends: the text, its index, vectors, facts, and the replies made from it.

With --store postgres://USER@HOST/DATABASE they lie in a PostgreSQL server, which several machines may use at the same time; docs/memory.md
says more.`,
		Example: `  bmem memory add talk.jsonl
  bmem memory list
  bmem memory show talk --speaker Ann
  bmem memory edit talk 1:2 "I moved to Basel."
  bmem memory forget talk --turn 1:3
  bmem ask --memory talk "Where does Ann live?"
  bmem memory list --store postgres://bmem@db.example.com/memories`,
	}
	cmd.AddCommand(newMemoryListCmd(), newMemoryShowCmd(), newMemoryAddCmd(), newMemoryEditCmd(), newMemoryForgetCmd(), newMemoryExpireCmd(),
		newMemoryExportCmd(), newMemoryCheckCmd())
	return cmd
}

// whereFlags say where memories are.
type whereFlags struct{ cache, store string }

func (f *whereFlags) bind(cmd *cobra.Command) { bindWhere(cmd, &f.cache, &f.store) }

// bindWhere defines the flags that say where memories are.
func bindWhere(cmd *cobra.Command, cache, store *string) {
	cmd.Flags().StringVar(cache, "cache", "", "folder for memories and replies (default $"+setup.EnvCache+", else the user's cache folder)")
	cmd.Flags().StringVar(store, "store", "", storeUsage)
}

// storeUsage describes the flag --store.
const storeUsage = "where memories lie: `postgres://USER@HOST/DATABASE` of a PostgreSQL server that several machines share, or a file (default $" + setup.EnvStore + ", else memory.db in the cache folder); its password goes into $PGPASSWORD"

// withArchive opens the memories without any model for as long as do takes.
func withArchive(ctx context.Context, where whereFlags, do func(a *bmem.Archive) error) (err error) {
	dir, err := setup.CacheDir(where.cache)
	if err != nil {
		return err
	}
	replies, err := llm.OpenCache(filepath.Join(dir, setup.RepliesFile))
	if err != nil {
		return err
	}
	defer closing(replies, &err)
	s, err := setup.OpenStore(ctx, where.store, dir)
	if err != nil {
		return err
	}
	a, err := bmem.NewArchive(ctx, s, replies)
	if err != nil {
		return err
	}
	defer closing(a, &err)
	if err = do(a); errors.Is(err, bmem.ErrNoMemory) {
		err = fmt.Errorf("%w: 'bmem memory list' shows the memories", err)
	}
	return err
}

func newMemoryListCmd() *cobra.Command {
	var where whereFlags
	var withDatasets, asJSON bool
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the memories with their turns, size and age",
		Example: "  bmem memory list\n  bmem memory list --json\n  bmem memory list --datasets",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withArchive(cmd.Context(), where, func(a *bmem.Archive) error {
				infos, err := a.Memories(cmd.Context())
				if err != nil {
					return err
				}
				all := len(infos)
				if !withDatasets {
					infos = slices.DeleteFunc(infos, func(i bmem.MemoryInfo) bool { return bmem.IsDataset(i.Name) })
				}
				if hidden := all - len(infos); hidden > 0 {
					fmt.Fprintf(cmd.ErrOrStderr(), "and %s of data sets, which --datasets lists\n", english.Plural(hidden, "memory", "memories"))
				}
				if asJSON {
					return writeJSON(cmd.OutOrStdout(), infos)
				}
				if len(infos) == 0 {
					fmt.Fprintln(cmd.ErrOrStderr(), "no memories yet; make one with: bmem memory add FILE")
					return nil
				}
				w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
				fmt.Fprintln(w, "NAME\tTURNS\tSESSIONS\tTEXT\tCREATED\tCHANGED\tEXPIRES")
				for _, i := range infos {
					fmt.Fprintf(w, "%s\t%d\t%d\t%s\t%s\t%s\t%s\n", chunk.Label(i.Name), i.Turns, i.Sessions, humanize.Bytes(uint64(i.Bytes)), when(i.Created), when(i.Changed), expiresOf(i))
				}
				return w.Flush()
			})
		},
	}
	where.bind(cmd)
	cmd.Flags().BoolVar(&withDatasets, "datasets", false, "also the conversations of data sets, which evaluations and collections put there")
	cmd.Flags().BoolVar(&asJSON, "json", false, "write JSON")
	return cmd
}

// when writes a time for people; a dash if it is not known.
func when(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04")
}

func newMemoryShowCmd() *cobra.Command {
	var where whereFlags
	var turn string
	var q bmem.TurnQuery
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show NAME",
		Short: "Show the turns of a memory, page by page",
		Example: `  bmem memory show talk
  bmem memory show talk --session 2 --speaker Ann
  bmem memory show talk --turn 1:3 --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withArchive(cmd.Context(), where, func(a *bmem.Archive) (err error) {
				var page bmem.TurnPage
				if turn == "" {
					page, err = a.Turns(cmd.Context(), args[0], q)
				} else {
					page.Turns = make([]bmem.StoredTurn, 1)
					page.Turns[0], err = a.Turn(cmd.Context(), args[0], turn)
				}
				if err != nil {
					return err
				}
				if asJSON {
					return writeJSON(cmd.OutOrStdout(), page)
				}
				for _, t := range page.Turns {
					expires := ""
					if !t.Expires.IsZero() {
						expires = " (expires " + when(t.Expires) + ")"
					}
					fmt.Fprintf(cmd.OutOrStdout(), "%s  [%s] %s%s\n", chunk.Label(t.ID), chunk.Label(t.Time), t.String(), expires)
				}
				switch {
				case page.Next != "":
					fmt.Fprintf(cmd.ErrOrStderr(), "more: --cursor %s\n", page.Next)
				case len(page.Turns) == 0:
					fmt.Fprintln(cmd.ErrOrStderr(), "no turns of that session and speaker")
				}
				return nil
			})
		},
	}
	where.bind(cmd)
	cmd.Flags().StringVar(&turn, "turn", "", "show the turn of this id alone")
	cmd.Flags().StringVar(&q.Session, "session", "", "only turns of this session")
	cmd.Flags().StringVar(&q.Speaker, "speaker", "", "only turns of this speaker")
	cmd.Flags().IntVar(&q.Limit, "limit", 100, "turns on a page, 1000 at most")
	cmd.Flags().StringVar(&q.Cursor, "cursor", "", "go on where a page ended")
	cmd.Flags().BoolVar(&asJSON, "json", false, "write JSON")
	return cmd
}

func newMemoryForgetCmd() *cobra.Command {
	var where whereFlags
	var session, speaker string
	var turns []string
	var all, expired, everywhere, asJSON bool
	cmd := &cobra.Command{
		Use:   "forget [NAME]",
		Short: "Forget turns, a session, what a speaker said, or a whole memory",
		Long: `Forget turns, a session, what a speaker said, or a whole memory.

When the command ends no byte of the text is left in the files: not in the store, its index, vectors and facts, nor in the replies
that were made from it. A kill forgets all of it or nothing. Files of runs and exports are not looked at.`,
		Example: `  bmem memory forget talk --turn 1:3 --turn 1:4
  bmem memory forget talk --session 2
  bmem memory forget talk --speaker Rita
  bmem memory forget --everywhere --speaker Rita
  bmem memory forget --expired
  bmem memory forget talk --all`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			flags := cmd.Flags()
			chosen := 0
			for _, name := range []string{"turn", "session", "speaker", "all", "expired"} {
				if flags.Changed(name) {
					chosen++
				}
			}
			if chosen != 1 {
				return errors.New("say what to forget by one of --turn, --session, --speaker, --all and --expired")
			}
			name := ""
			if len(args) == 1 {
				name = args[0]
			}
			switch {
			case expired && (name != "" || everywhere):
				return errors.New("--expired is for all memories: name none")
			case everywhere && (speaker == "" || name != ""):
				return errors.New("--everywhere goes with --speaker, and without a name")
			case name == "" && !expired && !everywhere:
				return errors.New("name the memory, or with --speaker give --everywhere")
			}
			return withArchive(cmd.Context(), where, func(a *bmem.Archive) (err error) {
				var gone bmem.Forgotten
				ctx := cmd.Context()
				switch {
				case expired:
					gone, err = a.ForgetExpired(ctx)
				case all:
					gone, err = a.ForgetMemory(ctx, name)
				case flags.Changed("session"):
					gone, err = a.ForgetSession(ctx, name, session)
				case flags.Changed("speaker"):
					gone, err = a.ForgetSpeaker(ctx, name, speaker)
				default:
					gone, err = a.ForgetTurns(ctx, name, turns...)
				}
				if err != nil {
					return err
				}
				if asJSON {
					return writeJSON(cmd.OutOrStdout(), gone)
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "forgot %s and %s\n", english.Plural(gone.Turns, "turn", ""), english.Plural(gone.Memories, "memory", "memories"))
				return err
			})
		},
	}
	where.bind(cmd)
	f := cmd.Flags()
	f.StringArrayVar(&turns, "turn", nil, "forget the turn of this `id`; may be repeated")
	f.StringVar(&session, "session", "", "forget this session")
	f.StringVar(&speaker, "speaker", "", "forget everything that this speaker said")
	f.BoolVar(&everywhere, "everywhere", false, "with --speaker: in all memories")
	f.BoolVar(&all, "all", false, "forget the whole memory")
	f.BoolVar(&expired, "expired", false, "forget what has expired, in all memories")
	f.BoolVar(&asJSON, "json", false, "write JSON")
	return cmd
}

func newMemoryExpireCmd() *cobra.Command {
	var where whereFlags
	var at string
	var turns []string
	cmd := &cobra.Command{
		Use:   "expire NAME --at WHEN",
		Short: "Set when a memory, or turns of it, are forgotten by themselves",
		Example: `  bmem memory expire talk --at 30d
  bmem memory expire talk --turn 1:3 --at 2030-01-31T12:00:00Z
  bmem memory expire talk --at never`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := expiryAt(at)
			if err != nil {
				return fmt.Errorf("--at: %w", err)
			}
			return withArchive(cmd.Context(), where, func(a *bmem.Archive) error { return a.SetExpiry(cmd.Context(), args[0], t, turns...) })
		},
	}
	where.bind(cmd)
	cmd.Flags().StringVar(&at, "at", "", "a time, a day, how long from now (36h, 30d, 2w), or never")
	cmd.Flags().StringArrayVar(&turns, "turn", nil, "only the turn of this `id`; may be repeated")
	if err := cmd.MarkFlagRequired("at"); err != nil {
		panic(err) // the flag is defined above
	}
	return cmd
}

// expiresOf says when a memory expires, or the first of its turns does.
func expiresOf(i bmem.MemoryInfo) string {
	if !i.TurnExpires.IsZero() && (i.Expires.IsZero() || i.TurnExpires.Before(i.Expires)) {
		return when(i.TurnExpires) + " (turns)"
	}
	return when(i.Expires)
}

// expiryAt reads when something expires. A time that is past would forget it at once, which is more often a slip than meant.
func expiryAt(text string) (time.Time, error) {
	now := time.Now()
	t, err := bmem.ParseExpiry(text, now)
	if err == nil && !t.IsZero() && t.Before(now) {
		err = fmt.Errorf("%s is past; bmem memory forget forgets at once", text)
	}
	return t, err
}

func newMemoryExportCmd() *cobra.Command {
	var where whereFlags
	var out string
	cmd := &cobra.Command{
		Use:   "export NAME",
		Short: "Write the turns of a memory, one a line as JSON, as bmem memory add reads them",
		Example: `  bmem memory export talk > talk.jsonl
  bmem memory export talk --out talk.jsonl`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withArchive(cmd.Context(), where, func(a *bmem.Archive) error {
				write := func(to io.Writer) error {
					w := bufio.NewWriter(to)
					lines := json.NewEncoder(w)
					lines.SetEscapeHTML(false)
					for t, err := range a.AllTurns(cmd.Context(), args[0]) {
						if err != nil {
							return err
						}
						if err := lines.Encode(t.Turn); err != nil {
							return err
						}
					}
					return w.Flush()
				}
				if out == "" {
					return write(cmd.OutOrStdout())
				}
				var b bytes.Buffer
				if err := write(&b); err != nil {
					return err
				}
				return atomicfile.WriteFile(out, b.Bytes(), 0o600)
			})
		},
	}
	where.bind(cmd)
	cmd.Flags().StringVar(&out, "out", "", "file to write, readable by its owner only (default the standard output)")
	return cmd
}

func newMemoryCheckCmd() *cobra.Command {
	var where whereFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "check",
		Short:   "Read all memories in full and say what is damaged",
		Example: "  bmem memory check",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withArchive(cmd.Context(), where, func(a *bmem.Archive) error {
				if err := a.Check(cmd.Context()); err != nil {
					return err
				}
				infos, err := a.Memories(cmd.Context())
				if err != nil {
					return err
				}
				if asJSON {
					return writeJSON(cmd.OutOrStdout(), struct {
						OK       bool `json:"ok"`
						Memories int  `json:"memories"`
					}{true, len(infos)})
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s, all sound\n", english.Plural(len(infos), "memory", "memories"))
				return err
			})
		},
	}
	where.bind(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "write JSON")
	return cmd
}

// memoryName is what a file's memory is called if nothing is said.
func memoryName(file string) string {
	base := filepath.Base(file)
	if base == "." || base == string(os.PathSeparator) {
		return bmem.DefaultMemory
	}
	return strings.TrimSuffix(base, filepath.Ext(base))
}
