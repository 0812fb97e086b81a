package tiers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

// realItems returns three chunks of a real conversation as retrieval would: with unit vectors [3] and turn scores.
func realItems(t testing.TB) []Item {
	t.Helper()
	data, err := os.ReadFile("testdata/locomo_train_chunks.json")
	if err != nil {
		t.Fatal(err)
	}
	var chunks []chunk.Chunk
	if err := json.Unmarshal(data, &chunks); err != nil {
		t.Fatal(err)
	}
	items := make([]Item, len(chunks))
	for i, c := range chunks {
		items[i] = Item{Chunk: c, Score: float64(len(chunks) - i), Vector: make([]float32, 3)}
		items[i].Vector[i] = 1
		for j := range c.Turns {
			items[i].TurnScores = append(items[i].TurnScores, 1/float64(1+i+j))
		}
	}
	return items
}

const realQuery = "When did Caroline go to the LGBTQ support group?"

// realInput asks a real question. By cosine the third chunk is nearest, by retrieval the first.
func realInput(t testing.TB) Input {
	return Input{Query: realQuery, QueryVector: []float32{0.6, 0, 0.8}, Items: realItems(t), TopK: 2}
}

// scriptedReply answers each module's prompt as a model that keeps to the format would.
func scriptedReply(_ context.Context, req llm.Request) (string, error) {
	switch text := req.Messages[0].Content; {
	case strings.Contains(text, "Rate each"):
		return "<answer>[1, 9, 3]</answer>", nil
	case strings.Contains(text, "Which lines"):
		return "<answer>[3, 2]</answer>", nil
	case strings.Contains(text, "Collect the facts"):
		return `<answer>["Caroline - went to - an LGBTQ support group (7 May 2023)"]</answer>`, nil
	case strings.Contains(text, "when things happened"):
		return `<answer>["Caroline went to a support group on 7 May 2023"]</answer>`, nil
	case strings.Contains(text, "Name the themes"):
		return `<answer>["Caroline's support group led to her plans in counselling"]</answer>`, nil
	}
	return "7 May 2023", nil
}

// likesLate rates passages about the second session highest: neither retrieval nor cosine would.
func likesLate(req llm.ScoreRequest) llm.Score {
	if strings.Contains(req.Messages[0].Content, "[25 May 2023]") && req.Continuation == realQuery {
		return llm.Score{LogProb: -1, Tokens: 1}
	}
	return llm.Score{LogProb: -9, Tokens: 1}
}

func newSet(t testing.TB, c llm.Client) Set {
	t.Helper()
	set, err := Implementation(Deps{Client: c})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// visible is what a module hands on, without its Step.
func visible(o Output) string {
	var ids []string
	for _, it := range o.Kept {
		ids = append(ids, fmt.Sprintf("%s %.3f", it.ID, it.Relevance))
	}
	return strings.Join(ids, "\n") + strings.Join(o.Facts, "\n") + o.Text
}

// TestTiersDiffer would fail if two tiers of a module were wired to the same method: each must give output of its own, by
// a method of its own, and serve what was asked.
func TestTiersDiffer(t *testing.T) {
	clients := map[string]llm.Client{
		"generating": &llmtest.Client{Reply: scriptedReply},
		"scoring":    &llmtest.Scorer{Client: llmtest.Client{Reply: scriptedReply}, Rate: likesLate},
	}
	for name, client := range clients {
		t.Run(name, func(t *testing.T) {
			in := realInput(t)
			in.Temporal = []string{"Caroline went to a support group: 7 May 2023"}
			for m, tiers := range newSet(t, client) {
				outputs, methods := map[string]string{}, map[string]string{}
				for i, tier := range tiers {
					if want := []string{Low, Mid, High}[i]; tier.Name() != want {
						t.Errorf("%s: tier %d is called %q, want %q", Module(m), i, tier.Name(), want)
					}
					out, err := tier.Run(context.Background(), in)
					if err != nil {
						t.Fatal(err)
					}
					if out.Step.Asked != tier.Name() || out.Step.Served != tier.Name() || out.Step.Why != "" {
						t.Errorf("%s %s: step %+v", Module(m), tier.Name(), out.Step)
					}
					if calls := out.Step.Usage.Calls; (calls > 0) != (tier.Name() == High) {
						t.Errorf("%s %s made %d model calls", Module(m), tier.Name(), calls)
					}
					shown := visible(out)
					if shown == "" {
						t.Errorf("%s %s returned nothing", Module(m), tier.Name())
					}
					if other, ok := outputs[shown]; ok {
						t.Errorf("%s: %s and %s gave the same:\n%s", Module(m), other, tier.Name(), shown)
					}
					if other, ok := methods[out.Step.Method]; ok {
						t.Errorf("%s: %s and %s used the same method %q", Module(m), other, tier.Name(), out.Step.Method)
					}
					outputs[shown], methods[out.Step.Method] = tier.Name(), tier.Name()
				}
			}
		})
	}
}

// TestHighSeesTheChunks holds that each generated prompt carries every turn, first of all and in the same words.
func TestHighSeesTheChunks(t *testing.T) {
	var prompts []string
	client := &llmtest.Client{Reply: func(ctx context.Context, req llm.Request) (string, error) {
		prompts = append(prompts, req.Messages[0].Content)
		return scriptedReply(ctx, req)
	}}
	in := realInput(t)
	for _, tiers := range newSet(t, client) {
		if len(tiers) == 0 {
			continue // answers are not routed
		}
		if _, err := tiers[2].Run(context.Background(), in); err != nil {
			t.Fatal(err)
		}
	}
	block := memoryBlock(in.Items) + "\nQuestion: " + realQuery
	if len(prompts) != int(Answering) {
		t.Fatalf("%d prompts for %d modules", len(prompts), int(Answering))
	}
	for i, p := range prompts {
		if !strings.HasPrefix(p, block) {
			t.Errorf("prompt of %s does not begin with the memory and the question", Module(i))
		}
	}
	if !strings.Contains(block, "yesterday (7 May 2023)") {
		t.Error("a relative date is not worked out")
	}
	said := regexp.MustCompile(` \([^()]*2023\)([^:])`).ReplaceAllString(block, "$1") // without the dates worked out
	for _, it := range in.Items {
		for _, turn := range it.Turns {
			if !strings.Contains(said, oneLine(turn.Line())) {
				t.Errorf("turn %s is missing from the memory block", turn.ID)
			}
		}
	}
}

// failing answers nothing but consumes.
type failing struct {
	err   error
	reply string
}

func (failing) Model() string { return "failing" }
func (failing) ID() string    { return "failing" }
func (f failing) Chat(context.Context, llm.Request) (llm.Response, error) {
	return llm.Response{Text: f.reply, Finish: "stop", Usage: llm.Usage{Calls: 1, In: 700, Dollars: 0.01}}, f.err
}

type failingScorer struct{ failing }

func (f failingScorer) Score(context.Context, []llm.ScoreRequest) ([]llm.Score, llm.Usage, error) {
	return nil, llm.Usage{Calls: 1, In: 700, Dollars: 0.01}, f.err
}

// TestFailuresAreBridgedRecordedAndPaid: a failed call steps down, says why, and its usage counts.
func TestFailuresAreBridgedRecordedAndPaid(t *testing.T) {
	down := errors.New("endpoint on fire")
	served := [NumModules]string{Mid, None, None, None, Low}
	cases := map[string]struct {
		client llm.Client
		why    string
		cause  error
	}{
		"call fails":  {failing{err: down}, "on fire", down},
		"prose":       {failing{reply: "I am afraid I cannot."}, "no usable payload", errPayload},
		"empty":       {failing{}, "no usable payload", errPayload},
		"score fails": {failingScorer{failing{err: down}}, "on fire", down},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			in := realInput(t)
			set := newSet(t, c.client)
			for m, tiers := range set[:Answering] {
				out, err := tiers[2].Run(context.Background(), in)
				if err != nil {
					t.Fatalf("%s: %v", Module(m), err)
				}
				s := out.Step
				if s.Asked != High || s.Served != served[m] || !strings.Contains(s.Why, c.why) {
					t.Errorf("%s: asked %s, served %s, why %q; want served %s because of %q", Module(m), s.Asked, s.Served, s.Why, served[m], c.why)
				}
				if !errors.Is(s.Cause, c.cause) {
					t.Errorf("%s: the cause is %v, want %v", Module(m), s.Cause, c.cause)
				}
				if s.Usage.Dollars != 0.01 {
					t.Errorf("%s: the failed call cost %g dollars, want 0.01", Module(m), s.Usage.Dollars)
				}
				for i, name := range []string{Low, Mid} {
					if name != s.Served {
						continue
					}
					want, err := tiers[i].Run(context.Background(), in)
					if err != nil {
						t.Fatal(err)
					}
					if visible(out) != visible(want) {
						t.Errorf("%s says that %s served, but the output differs from it", Module(m), name)
					}
				}
			}
		})
	}
}

// TestSomeFailuresAreNotBridged: a cancelled question and a wrong set-up are errors, with what they used.
func TestSomeFailuresAreNotBridged(t *testing.T) {
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	for name, c := range map[string]struct {
		ctx context.Context
		err error
	}{
		"cancelled": {cancelled, context.Canceled},
		"bad key":   {context.Background(), fmt.Errorf("chat: %w", llm.ErrAuth)},
		"no price":  {context.Background(), llm.ErrUnpriced},
	} {
		set := newSet(t, failing{err: c.err})
		for m, tiers := range set[:Answering] {
			out, err := tiers[2].Run(c.ctx, realInput(t))
			if !errors.Is(err, c.err) {
				t.Errorf("%s, %s: error %v, want %v", name, Module(m), err, c.err)
			}
			if out.Step.Usage.Calls != 1 {
				t.Errorf("%s, %s: the usage is lost", name, Module(m))
			}
		}
	}
}

// A question that is cancelled while a reply comes in that cannot be used says that it was cancelled, not what is wrong with the
// reply: a run that is stopped then would seem to have failed.
func TestCancelledWithAnUnusableReply(t *testing.T) {
	for _, m := range Modules()[:Answering] {
		ctx, cancel := context.WithCancel(t.Context())
		client := &llmtest.Client{Reply: func(context.Context, llm.Request) (string, error) {
			cancel()
			return "no list", nil
		}}
		_, err := newSet(t, client)[m][2].Run(ctx, realInput(t))
		if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "payload") {
			t.Errorf("%s: error %v, want context.Canceled and what the reply lacks", m, err)
		}
	}
}
