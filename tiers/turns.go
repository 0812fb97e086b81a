package tiers

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/tiers/text"
)

// turnRef refers to one turn of the kept chunks.
type turnRef struct {
	turn   chunk.Turn
	item   int // index of its chunk in the input
	at     int // its place in the chunk
	number int // its place among all lines, from 1
	time   string
	score  float64
	// probability that the turn is evidence, in [0,1]; 0 if unknown.
	probability float64
}

// allLines lists the turns of the items in order, as memoryBlock numbers them.
func allLines(items []Item) []turnRef {
	var out []turnRef
	for i, it := range items {
		for j, t := range it.Turns {
			out = append(out, turnRef{turn: t, item: i, at: j, number: len(out) + 1, time: it.Time})
		}
	}
	return out
}

// turnsByRetrieval returns all turns, best first by the retriever's score of each turn. If it gave none, they are scored
// like the filter by evidence scores such chunks: 0.7 · cosine + 0.3 · keyword share, the cosine only with an Embedder.
func (tb *toolbox) turnsByRetrieval(ctx context.Context, in Input) ([]turnRef, error) {
	lines := allLines(in.Items)
	missing := false
	for i, l := range lines {
		if scores := in.Items[l.item].TurnScores; l.at < len(scores) {
			lines[i].score = scores[l.at]
			lines[i].probability = min(max(scores[l.at], 0), 1)
		} else {
			missing = true
		}
	}
	if missing {
		if err := tb.scoreTurns(ctx, in, lines); err != nil {
			return nil, err
		}
	}
	return bestFirst(lines), nil
}

func (tb *toolbox) scoreTurns(ctx context.Context, in Input, lines []turnRef) error {
	asked := in.Language.Stems(in.Query)
	texts := make([]string, len(lines))
	for i, l := range lines {
		texts[i] = l.turn.Raw()
		said, n := in.Language.Stems(texts[i]), 0
		for s := range asked {
			if said[s] {
				n++
			}
		}
		lines[i].score = (1 - cosineWeight) * float64(n) / float64(max(len(asked), 1))
	}
	if tb.Embedder == nil || len(in.QueryVector) == 0 {
		return nil
	}
	vectors, err := tb.Embedder.Embed(ctx, texts)
	if err != nil {
		return fmt.Errorf("embedding %d turns: %w", len(texts), err)
	}
	for i, v := range vectors {
		cos, err := cosine(in.QueryVector, v)
		if err != nil {
			return fmt.Errorf("comparing the question with turn %q: %w", lines[i].turn.ID, err)
		}
		lines[i].score += cosineWeight * cos
	}
	return nil
}

func bestFirst(lines []turnRef) []turnRef {
	sort.SliceStable(lines, func(i, j int) bool { return lines[i].score > lines[j].score })
	return lines
}

// shorten cuts turns longer than the tokens to their sentences nearest to the question, in their order, gaps marked.
func shorten(lines []turnRef, in Input, count func(string) int, tokens int) []turnRef {
	asked := in.Language.Stems(in.Query)
	out := append([]turnRef(nil), lines...)
	for i, l := range out {
		if count(l.turn.Text) <= tokens {
			continue
		}
		sentences := text.Sentences(l.turn.Text)
		shared, order := make([]int, len(sentences)), make([]int, len(sentences))
		for j, s := range sentences {
			order[j] = j
			for stem := range in.Language.Stems(s) {
				if asked[stem] {
					shared[j]++
				}
			}
		}
		sort.SliceStable(order, func(a, b int) bool { return shared[order[a]] > shared[order[b]] })
		keep, left := make([]bool, len(sentences)), tokens
		for n, j := range order {
			if cost := count(sentences[j]); cost <= left || n == 0 {
				keep[j] = true
				left -= cost
			}
		}
		out[i].turn.Text = gapped(sentences, keep)
	}
	return out
}

// gapped joins the kept sentences, with an ellipsis where some are left out.
func gapped(sentences []string, keep []bool) string {
	var parts []string
	for i, s := range sentences {
		switch {
		case keep[i]:
			parts = append(parts, s)
		case len(parts) == 0 || parts[len(parts)-1] != "…":
			parts = append(parts, "…")
		}
	}
	return strings.Join(parts, " ")
}

// covering returns the best turns: as few as hold the given share of the sum of all turns' probabilities to be evidence, at
// least one and at most limit; the first limit turns where no probabilities are known. So a question whose evidence stands
// out gets a short summary, and one whose evidence is spread over many turns a longer one.
func covering(lines []turnRef, share float64, limit int) []turnRef {
	total, sum := 0.0, 0.0
	for _, l := range lines {
		total += l.probability
	}
	for i, l := range lines {
		if i == limit || i > 0 && total > 0 && sum > share*total {
			return lines[:i]
		}
		sum += l.probability
	}
	return lines
}

// fitting returns the best lines that fit into the tokens, at least one.
func fitting(lines []turnRef, count func(string) int, tokens int) []turnRef {
	var out []turnRef
	for _, l := range lines {
		n := count(l.turn.String()) + 1
		if n > tokens && len(out) > 0 {
			continue
		}
		tokens -= n
		out = append(out, l)
	}
	return out
}

// quote writes lines in their order, each behind the date of its session, each turn once and each relative date expression
// followed by what it means.
func quote(lines []turnRef) []string {
	var out []string
	seen := map[string]bool{}
	for _, l := range lines {
		said := l.turn.String()
		key := l.turn.ID + "\x00" + said
		if seen[key] {
			continue
		}
		seen[key] = true
		when, known := text.ParseTime(l.time)
		h := l.turn.Session
		if known {
			h = text.Day(when)
		} else if l.time != "" {
			h = l.time
		}
		switch {
		case said == h: // a document's title as its first sentence
			continue
		case h != "":
			h = "[" + h + "] "
		}
		out = append(out, h+withDates(said, when))
	}
	return out
}

// bestLast reverses the order, so that what matters most stands next to the question: small models answer better so than
// from turns in order of time.
func bestLast(lines []turnRef) []turnRef {
	lines = slices.Clone(lines)
	slices.Reverse(lines)
	return lines
}

// Quote renders turns the way the summaries do: behind the day they were said on, what relative dates mean behind these.
func Quote(turns []chunk.Turn) string {
	lines := make([]turnRef, len(turns))
	for i, t := range turns {
		t = t.Quotable()
		lines[i] = turnRef{turn: t, at: i, time: t.Time}
	}
	return strings.Join(quote(lines), "\n")
}

// withDates puts what a relative date expression means behind it: `yesterday (7 May 2023)`.
func withDates(turn string, said time.Time) string {
	if said.IsZero() {
		return turn
	}
	var b strings.Builder
	last := 0
	for _, e := range text.FindDates(turn) {
		when := e.Resolve(said)
		if when == "" || e.Vague() || strings.EqualFold(when, e.Text) {
			continue
		}
		b.WriteString(turn[last:e.End] + " (" + when + ")")
		last = e.End
	}
	b.WriteString(turn[last:])
	return b.String()
}
