package local

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/budgetmem/budgetmem/tiers/llm"
)

// Chat generates a reply. A prompt that fills the context is a *ContextError; a reply that reaches the end of the context
// ends there with Finish "length".
func (m *Model) Chat(ctx context.Context, req llm.Request) (llm.Response, error) {
	return m.generate(ctx, req, nil)
}

// Stream is Chat that calls emit with each piece of the reply as it comes: llm.Streamer. A slow emit does not hold up other
// replies. An error of emit ends the reply and is returned; the others are those of Chat. Of a request for several replies
// the first is sent.
func (m *Model) Stream(ctx context.Context, req llm.Request, emit func(piece string) error) (llm.Response, error) {
	return m.generate(ctx, req, emit)
}

func (m *Model) generate(ctx context.Context, req llm.Request, emit func(string) error) (llm.Response, error) {
	start := time.Now()
	usage := llm.Usage{Calls: 1}
	fail := func(err error) (llm.Response, error) {
		usage.Failed, usage.MS = 1, ms(start)
		return llm.Response{Usage: usage}, fmt.Errorf("chat with %s: %w", m.name, err)
	}
	ids, err := m.encode(ctx, req.Messages)
	if err != nil {
		return fail(err)
	}
	if len(ids) >= m.context {
		return fail(&ContextError{Prompt: len(ids), Context: m.context})
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan *sequence, req.Replies())
	seqs := make([]*sequence, req.Replies())
	for i := range seqs {
		seqs[i] = m.reply(ctx, slices.Clone(ids), req, i)
		seqs[i].done = done
	}
	var tokens chan int32
	if emit != nil {
		tokens = make(chan int32, seqs[0].maxTokens)
		seqs[0].tokens = tokens
	}
	if err := m.sched.submit(ctx, seqs); err != nil {
		return fail(err)
	}
	pieces := pieces{stops: req.Stop, emit: emit}
	var broken error
	if emit != nil {
		for id := range tokens {
			if broken == nil {
				if broken = pieces.add(m.tok.Bytes(id)); broken != nil {
					cancel()
				}
			}
		}
	}
	usage.In = len(ids)
	var failed error
	for range seqs {
		seq := <-done
		usage.Out += len(seq.reply())
		failed = cmp.Or(failed, seq.err)
	}
	choices := make([]llm.Choice, len(seqs))
	for i, seq := range seqs {
		text, _ := cutAtStop(m.tok.Decode(seq.reply()), req.Stop)
		choices[i] = llm.Choice{Text: text, Finish: seq.finish, LogProbs: m.logProbs(seq.ratings)}
	}
	first := choices[0]
	if broken == nil && failed == nil && emit != nil {
		broken = pieces.finish(first.Text)
	}
	if err := cmp.Or(broken, failed); err != nil {
		return fail(err)
	}
	usage.MS = ms(start)
	resp := llm.Response{Text: first.Text, Finish: first.Finish, LogProbs: first.LogProbs, Usage: usage, Reused: seqs[0].reused}
	if len(choices) > 1 {
		resp.Others = choices[1:]
	}
	return resp, nil
}

// logProbs are ratings with the texts of their tokens; nil without ratings.
func (m *Model) logProbs(ratings []rating) []llm.TokenLogProb {
	var out []llm.TokenLogProb
	for _, r := range ratings {
		r.Token = m.tok.Decode([]int32{r.id})
		for i, id := range r.top {
			r.Top[i].Token = m.tok.Decode([]int32{id})
		}
		out = append(out, r.TokenLogProb)
	}
	return out
}

// reply is the sequence of the i-th reply that a request asks for.
func (m *Model) reply(ctx context.Context, ids []int32, req llm.Request, i int) *sequence {
	seq := &sequence{
		ctx: ctx, ids: ids, prompt: len(ids), eog: m.tok.EOG,
		maxTokens: min(req.ReplyLimit(), m.context-len(ids)), temperature: req.Temperature,
		rate: req.LogProbs,
	}
	if req.Temperature > 0 {
		seq.rng = rand.New(rand.NewPCG(uint64(req.Seed), uint64(i)))
	}
	if len(req.Stop) > 0 {
		seq.stop = func(reply []int32) bool { _, found := cutAtStop(m.tok.Decode(reply), req.Stop); return found }
	}
	if req.JSON {
		var text jsonText
		seq.allowed = func(id int32) bool {
			next, b := text, m.tok.Bytes(id)
			return len(b) > 0 && next.extend(b) && !m.tok.Special(id)
		}
		stop := seq.stop
		seq.stop = func(reply []int32) bool {
			text.extend(m.tok.Bytes(reply[len(reply)-1]))
			return text.done() || stop != nil && stop(reply)
		}
	}
	return seq
}

// pieces passes on a text that arrives in tokens: the part that is certain to be in the reply, in whole characters.
type pieces struct {
	stops []string
	emit  func(string) error
	text  []byte
	sent  int
}

func (p *pieces) add(token []byte) error {
	p.text = append(p.text, token...)
	whole, _ := cutAtStop(string(p.text[p.sent:]), p.stops)
	return p.send(whole[:len(whole)-held(whole, p.stops)])
}

// finish sends the rest of the whole reply.
func (p *pieces) finish(reply string) error { return p.send(reply[p.sent:]) }

func (p *pieces) send(piece string) error {
	if piece == "" {
		return nil
	}
	p.sent += len(piece)
	return p.emit(piece)
}

// held is how many bytes at the end of text may be the beginning of a stop string or of a character.
func held(text string, stops []string) int {
	n := 0
	for i := max(0, len(text)-utf8.UTFMax+1); i < len(text); i++ {
		if utf8.RuneStart(text[i]) && !utf8.FullRuneInString(text[i:]) {
			n = len(text) - i
			break
		}
	}
	for _, s := range stops {
		for k := min(len(s)-1, len(text)); k > n; k-- {
			if strings.HasSuffix(text, s[:k]) {
				n = k
				break
			}
		}
	}
	return n
}

// cutAtStop cuts text before the first of the stop strings, and reports whether there was one.
func cutAtStop(text string, stops []string) (string, bool) {
	cut, found := len(text), false
	for _, s := range stops {
		if i := strings.Index(text, s); s != "" && i >= 0 && i <= cut {
			cut, found = i, true
		}
	}
	return text[:cut], found
}
