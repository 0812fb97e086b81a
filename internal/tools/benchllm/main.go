// Command benchllm times the local language model: prefill of long prompts, and decode of 16 replies at once. It writes
// what it measured and on what to stdout as JSON, so that another program can time llama.cpp on the same (see
// scripts/bench_llm.py, which prints both).
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/budgetmem/budgetmem/datasets"
	"github.com/budgetmem/budgetmem/internal/backend"
	"github.com/budgetmem/budgetmem/internal/models"
	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/local"
)

// What is measured.
const (
	prefillPrompts = 3
	prefillTokens  = 1200
	decodePrompts  = 16
	decodeTokens   = 300 // of a prompt
	steps          = 48  // tokens of a reply
	rounds         = 2
)

// report is the output.
type report struct {
	Name    string    `json:"name"`
	Model   string    `json:"model"` // path of the GGUF file
	Backend string    `json:"backend"`
	Threads int       `json:"threads"`
	Rounds  int       `json:"rounds"`
	Steps   int       `json:"steps"`
	Prefill [][]int32 `json:"prefill"` // prompts as token ids
	Decode  [][]int32 `json:"decode"`
	Ours    rates     `json:"ours"`
}

// rates are tokens per second, the best of the rounds.
type rates struct {
	Prefill float64 `json:"prefill"`
	Decode  float64 `json:"decode"`
}

func main() {
	model := flag.String("model", "qwen2.5-coder-0.5b-instruct", "name in the models catalogue")
	spec := flag.String("backend", "", "backend: "+backend.Specs)
	flag.Parse()
	if err := run(context.Background(), *model, *spec); err != nil {
		fmt.Fprintln(os.Stderr, "benchllm:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, name, spec string) error {
	catalogue, err := models.Open()
	if err != nil {
		return err
	}
	path, err := catalogue.Path(ctx, name)
	if err != nil {
		return err
	}
	be, err := backend.Open(spec, nil)
	if err != nil {
		return err
	}
	defer be.Finalize()
	m, err := local.Open(path, be, local.Options{Name: name, MaxBatch: decodePrompts})
	if err != nil {
		return err
	}
	defer m.Close()
	long, short, err := prompts(ctx)
	if err != nil {
		return err
	}
	r := report{Name: name, Model: path, Backend: string(be.Kind), Threads: runtime.NumCPU(), Rounds: rounds, Steps: steps}
	if r.Ours, err = measure(ctx, m, long, short); err != nil {
		return err
	}
	if r.Prefill, err = encode(ctx, m, long[:prefillPrompts]); err != nil {
		return err
	}
	if r.Decode, err = encode(ctx, m, short); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// prompts cuts chats of about prefillTokens and decodeTokens out of a LoCoMo conversation, no two beginning alike.
func prompts(ctx context.Context) (long, short [][]llm.Message, err error) {
	words, err := conversation(ctx)
	if err != nil {
		return nil, nil, err
	}
	chats := func(count, tokens, offset int) (chats [][]llm.Message) {
		n := tokens * 2 / 3 // about as many words as give the tokens
		for i := range count {
			from := (offset + i*n) % (len(words) - n)
			text := fmt.Sprintf("(%d) %s\n\nRetell this conversation in every detail.", offset+i, strings.Join(words[from:from+n], " "))
			chats = append(chats, []llm.Message{{Role: llm.User, Content: text}})
		}
		return chats
	}
	return chats(prefillPrompts*rounds, prefillTokens, 0), chats(decodePrompts, decodeTokens, 5000), nil
}

// conversation returns the words of a LoCoMo conversation.
func conversation(ctx context.Context) ([]string, error) {
	d, err := datasets.Open("locomo", datasets.Options{})
	if err != nil {
		return nil, err
	}
	questions, err := d.Questions(ctx, datasets.Train)
	if err != nil {
		return nil, err
	}
	h, err := d.History(ctx, questions[0].History)
	if err != nil {
		return nil, err
	}
	var words []string
	for _, turn := range h.Turns {
		words = append(words, strings.Fields(turn.String())...)
	}
	return words, nil
}

func encode(ctx context.Context, m *local.Model, chats [][]llm.Message) (ids [][]int32, err error) {
	for _, c := range chats {
		text, err := m.Tokenizer().Template().Render(ctx, c, true)
		if err != nil {
			return nil, err
		}
		ids = append(ids, m.Tokenizer().Encode(text, true))
	}
	return ids, nil
}

// measure takes the best of the rounds, the first of which also compile the programs.
func measure(ctx context.Context, m *local.Model, long, short [][]llm.Message) (best rates, err error) {
	for _, chat := range long {
		// A score of one token is prefill and next to nothing else. No two prompts are the same, so nothing is reused.
		start := time.Now()
		_, usage, err := m.Score(ctx, []llm.ScoreRequest{{Messages: chat, Continuation: "Yes"}})
		if err != nil {
			return best, err
		}
		best.Prefill = max(best.Prefill, float64(usage.In)/time.Since(start).Seconds())
	}
	// Put the prompts into the prefix cache and compile.
	if _, _, err := replies(ctx, m, short, 2); err != nil {
		return best, err
	}
	for range rounds {
		// Replies of one token take what replies of many take before decode, and their first step of it.
		few, before, err := replies(ctx, m, short, 1)
		if err != nil {
			return best, err
		}
		many, took, err := replies(ctx, m, short, steps)
		if err != nil {
			return best, err
		}
		if took > before {
			best.Decode = max(best.Decode, float64(many-few)/(took-before).Seconds())
		}
	}
	return best, nil
}

// replies generates replies of at most n tokens to all chats at once.
func replies(ctx context.Context, m *local.Model, chats [][]llm.Message, n int) (tokens int, took time.Duration, err error) {
	start := time.Now()
	var wg sync.WaitGroup
	var mu sync.Mutex
	for _, chat := range chats {
		wg.Go(func() {
			r, e := m.Chat(ctx, llm.Request{Messages: chat, MaxTokens: n})
			mu.Lock()
			defer mu.Unlock()
			tokens += r.Usage.Out
			if e != nil {
				err = e
			}
		})
	}
	wg.Wait()
	return tokens, time.Since(start), err
}
