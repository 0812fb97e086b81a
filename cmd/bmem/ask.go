package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/budgetmem/budgetmem/bmem"
	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/bmem/conversation"
	"github.com/budgetmem/budgetmem/tiers/text"
)

func newAskCmd() *cobra.Command {
	var flags systemFlags
	var file, policy, date, before, after string
	var explain, asJSON bool
	var maxCost, lambda float64
	var least abstaining
	cmd := &cobra.Command{
		Use:   "ask --memory FILE|NAME QUESTION",
		Short: "Ask a question of a conversation of your own",
		Long: `Ask a question of a conversation of your own.

The file holds one turn a line, as JSON:

  {"session": "1", "time": "3 May 2024", "speaker": "Ann", "text": "I moved to Bern."}

Only text is required. A list of such objects is read too, and so are exports of ChatGPT, Claude, Telegram, Slack, Discord and
WhatsApp, messages with a role and content, Markdown and plain text. What is embedded and extracted is kept, so the next question is quicker.
When the file has changed, what is gone from it is forgotten. A memory of 'bmem memory add' is asked by its name.`,
		Example: `  bmem ask --memory talk.jsonl "Where does Ann live?"
  bmem ask --memory "WhatsApp Chat with Ann.txt" --dates dmy "Where do we meet?"
  bmem ask --memory talk.jsonl --policy low,high,mid,low,high --explain "When did Ann move?"
  bmem ask --memory talk.jsonl --policy router:router.safetensors --max-cost 0.002 "When did Ann move?"
  bmem ask --memory talk.jsonl --axis readers --calibration calibration.json --policy cascade --min-confidence 0.4 "When did Ann move?"
  bmem ask --memory talk.jsonl --before 2024-06-01 "Where does Ann live?"
  bmem ask --memory talk --store postgres://bmem@db.example.com/memories "When did Ann move?"`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			chosen, err := flags.policy(policy)
			seen, terr := seenTurns(before, after)
			if err := errors.Join(flags.check(), err, terr); err != nil {
				return err
			}
			talk, err := conversation.ReadFile(file)
			stored := false
			if errors.Is(err, fs.ErrNotExist) {
				var failed error
				if stored, failed = isMemory(cmd.Context(), whereFlags{flags.spec.CacheDir, flags.spec.Store}, file); failed != nil {
					return failed
				}
			}
			if errors.Is(err, fs.ErrNotExist) && !stored {
				return fmt.Errorf("--memory %s: there is no file and no memory of that name: 'bmem memory list' shows the memories", file)
			}
			if err != nil && !stored {
				return err
			}
			turns := talk.Turns
			if talk.Form != "turns" && !stored {
				fmt.Fprintf(cmd.ErrOrStderr(), "note: read as %s: %d turns; left out: %s\n", talk.Form, len(turns), talk.LeftOutText())
			}
			sys, err := flags.open(cmd.Context(), cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			defer closing(sys, &err)
			memory := file
			if !stored {
				if memory, err = sys.Memory.Sync(cmd.Context(), turns, bmem.WithSource(file)); err != nil {
					return err
				}
			}
			opts := []bmem.Option{bmem.WithMemory(memory), bmem.WithPolicy(chosen), bmem.WithTopK(flags.topK), bmem.WithKeepK(flags.keepK),
				bmem.WithRetrieval(flags.spec.Retrieval), bmem.WithQuestionDate(date)}
			if cmd.Flags().Changed("max-cost") {
				opts = append(opts, bmem.WithMaxCost(maxCost))
			}
			for _, l := range least.limits(cmd) {
				opts = append(opts, l.option(l.least))
			}
			if cmd.Flags().Changed("lambda") {
				opts = append(opts, bmem.WithLambda(lambda))
			}
			opts = append(opts, seen...)
			end := waiting(cmd.ErrOrStderr(), "answering")
			answer, err := sys.Memory.Ask(cmd.Context(), args[0], opts...)
			end()
			noteDates(cmd.ErrOrStderr(), answer.Trace.Dates)
			if limits := answer.Trace.Language.Limits(); limits != "" {
				fmt.Fprintln(cmd.ErrOrStderr(), "note:", limits)
			}
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), answer)
			}
			if stored && explain {
				if turns, err = retrievedTurns(cmd.Context(), sys.Memory, memory, answer); err != nil {
					return err
				}
			}
			return printAnswer(cmd.OutOrStdout(), answer, turns, explain)
		},
	}
	flags.bind(cmd.Flags())
	flags.calibrated(cmd.Flags())
	cmd.Flags().StringVar(&file, "memory", "", "`file` with the conversation, or the name of a memory")
	cmd.Flags().StringVar(&policy, "policy", "mid", "tier of all modules, or one each for filter,entity,temporal,topic,summary (and answer, where the set has it), or random, or router:FILE, or cascade or cascade:FILE")
	cmd.Flags().Float64Var(&maxCost, "max-cost", 0, "most that the answer may cost, in `dollars`; modules step down rather than pass it")
	cmd.Flags().Float64Var(&lambda, "lambda", 0, "weight of cost against score that a router or a cascade decides by (default the router's smallest, or what its calibration gives for --max-cost)")
	least.bind(cmd.Flags(), "least %s, from 0 to 1, for an answer to be given; needs --calibration or a policy with one")
	cmd.Flags().StringVar(&date, "date", "", "when the question is asked, if that matters")
	cmd.Flags().StringVar(&before, "before", "", "ask the memory as it was before this `day` or time, such as 2025-03-03 or 2025-03-03T10:04:00Z")
	cmd.Flags().StringVar(&after, "after", "", "leave out turns from before this `day` or time")
	cmd.Flags().StringVar(&flags.spec.Dates, "dates", "", "order of numeric dates in the file: dmy, mdy or ymd (default what the file shows)")
	cmd.Flags().BoolVar(&explain, "explain", false, "print what each module did, at which tier, for how much")
	cmd.Flags().BoolVar(&asJSON, "json", false, "write JSON, trace included")
	if err := cmd.MarkFlagRequired("memory"); err != nil {
		panic(err) // the flag is defined above
	}
	return cmd
}

// seenTurns are the options of --before and --after.
func seenTurns(before, after string) (opts []bmem.Option, err error) {
	for _, f := range []struct {
		flag, value string
		with        func(time.Time) bmem.Option
	}{{"before", before, bmem.WithBefore}, {"after", after, bmem.WithAfter}} {
		if f.value == "" {
			continue
		}
		at, err := bmem.ParseTime(f.value)
		if err != nil {
			return nil, fmt.Errorf("--%s %w", f.flag, err)
		}
		opts = append(opts, f.with(at))
	}
	return opts, nil
}

// isMemory says whether there is a memory of that name.
func isMemory(ctx context.Context, where whereFlags, name string) (bool, error) {
	err := withArchive(ctx, where, func(a *bmem.Archive) error {
		_, err := a.Describe(ctx, name)
		return err
	})
	if errors.Is(err, bmem.ErrNoMemory) {
		return false, nil
	}
	return err == nil, err
}

// retrievedTurns reads the turns that an answer's trace names.
func retrievedTurns(ctx context.Context, m *bmem.Memory, memory string, a bmem.Answer) ([]chunk.Turn, error) {
	var turns []chunk.Turn
	for _, found := range a.Trace.Retrieved {
		for _, id := range found.Turns {
			t, err := m.Turn(ctx, memory, id)
			if err != nil && !errors.Is(err, bmem.ErrNoTurn) {
				return nil, err
			}
			turns = append(turns, t.Turn)
		}
	}
	return turns, nil
}

// noteDates says how the times of the file were read, as far as that is not plain.
func noteDates(w io.Writer, r *text.Reading) {
	if r == nil {
		return
	}
	for _, note := range r.Notes() {
		fmt.Fprintln(w, "note:", note)
	}
	if r.Basis == text.Assumed || r.Basis == text.Mixed {
		fmt.Fprintln(w, "note: --dates dmy, mdy or ymd says in which order they are written")
	}
}

// closing closes c at the end of a function and reports an error of that, if there is no other.
func closing(c io.Closer, err *error) {
	if e := c.Close(); e != nil && *err == nil {
		*err = e
	}
}

// printAnswer prints the answer, the turns it rests on, and on request the trace.
func printAnswer(w io.Writer, a bmem.Answer, turns []chunk.Turn, explain bool) error {
	var b strings.Builder
	if a.Abstained {
		fmt.Fprintln(&b, "no answer: "+unsure(a))
	} else {
		fmt.Fprintln(&b, a.Text)
	}
	if how := sureness(a); how != "" && !a.Abstained {
		fmt.Fprintf(&b, "\n%s\n", how)
	}
	if explain {
		explainTrace(&b, a, turns)
	} else if len(a.Evidence) > 0 {
		fmt.Fprintf(&b, "\nfrom turns %s\n", strings.Join(labels(a.Evidence), ", "))
	}
	_, err := io.WriteString(w, chunk.Plain(b.String())) // what is quoted does not command the terminal
	return err
}

// labels returns ids as they may be shown.
func labels(ids []string) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = chunk.Label(id)
	}
	return out
}

// unsure says why an answer is withheld, and what it would have been.
func unsure(a bmem.Answer) string {
	how := sureness(a)
	if how == "" {
		return fmt.Sprintf("it is not known how sure %q is", a.Withheld)
	}
	return fmt.Sprintf("%q is not sure enough: %s", a.Withheld, how)
}

// sureness is what is known of how good an answer is.
func sureness(a bmem.Answer) string {
	var parts []string
	if a.Confidence != nil {
		parts = append(parts, fmt.Sprintf("confidence %.2f", *a.Confidence))
	}
	if a.Answerable != nil {
		parts = append(parts, fmt.Sprintf("answerable with probability %.2f", *a.Answerable))
	}
	return strings.Join(parts, ", ")
}

func explainTrace(b *strings.Builder, a bmem.Answer, turns []chunk.Turn) {
	t := a.Trace
	said := map[string]chunk.Turn{}
	for _, turn := range turns {
		said[turn.ID] = turn
	}
	fmt.Fprintf(b, "\nretrieved by %s, top %d:\n", t.Retrieval, t.TopK)
	kept := map[string]float64{}
	for _, k := range t.Kept {
		kept[k.Chunk] = k.Score
	}
	for _, f := range t.Retrieved {
		mark := "dropped"
		if relevance, ok := kept[f.Chunk]; ok {
			mark = fmt.Sprintf("kept, relevance %.2f", relevance)
		}
		fmt.Fprintf(b, "  chunk %s (score %.2f, %s)\n", chunk.Label(f.Chunk), f.Score, mark)
		for _, id := range f.Turns {
			fmt.Fprintf(b, "    %s  %s\n", chunk.Label(id), clip(said[id].Line(), 110))
		}
	}
	for _, m := range t.Modules {
		fmt.Fprintf(b, "\n%s: %s", m.Module, m.Served)
		if m.Served != m.Asked {
			fmt.Fprintf(b, " instead of %s (%s)", m.Asked, m.Why)
		}
		fmt.Fprintf(b, ", %s; %d calls, %d + %d tokens, $%.3g, %.0f ms\n", m.Method, m.Usage.Calls, m.Usage.In, m.Usage.Out, m.Usage.Dollars, m.MS)
		for _, note := range m.Notes {
			fmt.Fprintf(b, "  note: %s\n", note)
		}
		for _, fact := range m.Facts {
			fmt.Fprintf(b, "  - %s\n", strings.Join(strings.Fields(fact), " "))
		}
	}
	fmt.Fprintf(b, "\nthe answer was written from:\n  %s\n", strings.ReplaceAll(t.Summary, "\n", "\n  "))
	u, c := t.Usage(), t.Answer.Usage
	if a := t.Answer; a.Asked != "" {
		fmt.Fprintf(b, "\nanswer: %s", a.Served)
		if a.Served != a.Asked {
			fmt.Fprintf(b, " instead of %s (%s)", a.Asked, a.Why)
		}
		fmt.Fprintf(b, ", %s", a.Method)
	}
	fmt.Fprintf(b, "\nanswer by %s: %d + %d tokens, $%.3g, %.0f ms\ntotal: %d calls (%d from the cache), %d + %d tokens, $%.3g, %.0f ms\n",
		t.Answer.Model, c.In, c.Out, c.Dollars, c.MS, u.Calls, u.Cached, u.In, u.Out, u.Dollars, t.MS())
}

// clip cuts a text to n runes, on one line.
func clip(s string, n int) string {
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > n {
		return string(r[:n]) + "…"
	}
	return s
}
