// Package local runs decoder language models of the Llama and Qwen2 families in this process, from a GGUF file, on any
// GoMLX backend. Weights are dequantised to float32.
//
// Concurrent requests are batched. Prompts that begin alike share the computation of their beginning, through a cache of
// keys and values in blocks of 16 tokens. At temperature 0 a reply is the same whatever else runs beside it: on XLA-CPU
// the logits do not depend on the batch in a single bit.
package local

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/gobackend"

	"github.com/budgetmem/budgetmem/internal/filehash"
	"github.com/budgetmem/budgetmem/internal/osmem"
	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/local/adapter"
	"github.com/budgetmem/budgetmem/tiers/llm/local/tokenizer"
)

// Options are the settings of Open; the zero value is a good choice.
type Options struct {
	// Name is what Model returns; empty means the file's name without extension.
	Name string
	// Adapter is the folder of an adapter in PEFT's format, which is merged into the weights; "" for none. The error of one that
	// was made for another model wraps ErrAdapter, that of a broken one adapter.ErrFormat.
	Adapter string
	// Shared, if not nil, has the weights once in memory for all models of the same file that are opened with it, adapted matrices
	// aside.
	Shared *Shared
	// Context is the longest prompt and reply together, in tokens; 0 means 4096, or what the model was trained for if less.
	Context int
	// MaxBatch is how many replies are generated at a time; 0 means 16, or 4 in pure Go. A step takes as long for one as for
	// all of them. Replies to the same request can differ in near ties between models opened with different values.
	MaxBatch int
	// PrefixCacheBytes bounds the memory that keeps computed prompts for reuse; 0 means 256 MiB.
	PrefixCacheBytes int64
}

const defaultPrefixCache = 256 << 20

// MemoryNeeded is about how many bytes of memory the model in a GGUF file takes at work, with the default Options: its weights,
// the prefix cache, and the caches of replies. A file that cannot be read or is no model that this package runs
// (ErrUnsupported) is an error.
func MemoryNeeded(path string) (int64, error) {
	f, err := openGGUF(path)
	if err != nil {
		return 0, fmt.Errorf("size of language model %s: %w", path, err)
	}
	cfg, err := readConfig(f)
	if err != nil {
		return 0, fmt.Errorf("size of language model %s: %w", path, err)
	}
	bytes := int64(defaultPrefixCache) + 4*poolTokens*int64(cfg.kvFloats())
	for _, t := range f.TensorInfos {
		bytes += 4 * int64(t.NumElements()) // float32
	}
	return bytes, nil
}

// Model is a language model in memory. It implements llm.Client, llm.Streamer and llm.Scorer, and is safe for concurrent use.
type Model struct {
	name, id string
	cfg      Config
	context  int
	tok      *tokenizer.Tokenizer
	eng      *engine
	sched    *scheduler
	adapter  *adapter.Adapter // nil without one
}

// ContextError is returned for a prompt that leaves no room for a reply.
type ContextError struct {
	Prompt  int // tokens of the prompt, or of prompt and continuation when scoring
	Context int // the most that prompt and reply may have together
}

func (e *ContextError) Error() string {
	return fmt.Sprintf("prompt of %d tokens does not fit the context of %d tokens with a reply: shorten it, or open the model with a larger Options.Context", e.Prompt, e.Context)
}

// Open loads the model in a GGUF file onto be, which must stay open until Close. A 0.5-billion-parameter model takes about 2.5
// GB. The file must stay as it is until Close; it may be renamed. A file that cannot be read or is damaged, and a model that
// the decoder does not run (match it with ErrUnsupported), are errors; of an adapter that does not fit, ErrAdapter.
func Open(path string, be compute.Backend, opts Options) (*Model, error) {
	defer osmem.GiveBack() // loading leaves much garbage
	m, err := open(path, be, opts)
	if err != nil {
		return nil, fmt.Errorf("opening language model %s: %w", path, err)
	}
	return m, nil
}

func open(path string, be compute.Backend, opts Options) (*Model, error) {
	type sum struct {
		hex string
		err error
	}
	hashed := make(chan sum, 1)
	go func() {
		h, err := filehash.SHA256(path)
		hashed <- sum{h, err}
	}()
	f, err := openGGUF(path)
	if err != nil {
		return nil, err
	}
	m := &Model{name: opts.Name}
	if m.name == "" {
		m.name = strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
	}
	if m.cfg, err = readConfig(f); err != nil {
		return nil, err
	}
	if m.tok, err = tokenizer.FromGGUF(f); err != nil {
		return nil, err
	}
	if opts.Adapter != "" {
		if m.adapter, err = adapter.Read(opts.Adapter); err != nil {
			return nil, err
		}
	}
	m.context = opts.Context
	if m.context <= 0 {
		m.context = 4096
	}
	m.context = min(m.context, m.cfg.Context)
	if opts.MaxBatch <= 0 {
		opts.MaxBatch = 16
		if be.Name() == gobackend.BackendName {
			opts.MaxBatch = 4 // where a step does take longer for more
		}
	}
	if opts.PrefixCacheBytes <= 0 {
		opts.PrefixCacheBytes = defaultPrefixCache
	}
	sh := sharing{with: opts.Shared, adapter: m.adapter}
	if sh.with != nil {
		if sh.file, err = identify(path); err != nil {
			return nil, err
		}
	}
	w, err := loadWeights(be, f, &m.cfg, sh)
	if err != nil {
		return nil, err
	}
	s := <-hashed
	if err = s.err; err == nil && m.adapter != nil {
		if err = checkAdapter(m.adapter, &m.cfg, s.hex); err == nil {
			err = w.merge(&m.cfg, m.adapter)
		}
	}
	if err != nil {
		w.finalize()
		return nil, err
	}
	embed, err := openEmbedding(f, &m.cfg)
	if err != nil {
		w.finalize()
		return nil, err
	}
	if m.eng, err = newEngine(be, &m.cfg, opts.MaxBatch, w, embed); err != nil {
		w.finalize()
		return nil, errors.Join(err, embed.reader.Close())
	}
	m.id = "local:sha256:" + s.hex
	if m.adapter != nil {
		m.id += "+sha256:" + m.adapter.SHA256
	}
	m.sched = newScheduler(m.eng, m.context, opts.MaxBatch, opts.PrefixCacheBytes)
	return m, nil
}

// Close frees the model. Requests in flight end with ErrClosed.
func (m *Model) Close() error {
	m.sched.close()
	return m.eng.finalize()
}

// Model returns the name of the model.
func (m *Model) Model() string { return m.name }

// ID names the weights by the sha256 of their file, and of the adapter's.
func (m *Model) ID() string { return m.id }

// Config returns the shape of the model.
func (m *Model) Config() Config { return m.cfg }

// Context returns how many tokens prompt and reply may have together.
func (m *Model) Context() int { return m.context }

// Tokenizer returns the model's tokenizer.
func (m *Model) Tokenizer() *tokenizer.Tokenizer { return m.tok }

// Stats counts what has been computed so far.
func (m *Model) Stats() Stats { return m.sched.snapshot() }

// countLimit is how long rendering a chat to count its tokens may take.
const countLimit = time.Second

// CountTokens returns the number of tokens that messages take as a prompt, the chat template's own included. Messages that the
// chat template refuses are an error.
func (m *Model) CountTokens(messages []llm.Message) (int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), countLimit)
	defer cancel()
	ids, err := m.encode(ctx, messages)
	return len(ids), err
}

// encode renders messages as a prompt that ends where the assistant's reply begins.
func (m *Model) encode(ctx context.Context, messages []llm.Message) ([]int32, error) {
	return encodePrompt(ctx, m.tok, messages)
}

func encodePrompt(ctx context.Context, tok *tokenizer.Tokenizer, messages []llm.Message) ([]int32, error) {
	text, err := tok.Template().Render(ctx, messages, true)
	if err != nil {
		return nil, err
	}
	ids := tok.Encode(text, true)
	if bos, ok := tok.BOS(); ok && (len(ids) == 0 || ids[0] != bos) {
		ids = append([]int32{bos}, ids...)
	}
	if len(ids) == 0 {
		return nil, fmt.Errorf("the chat has no text")
	}
	return ids, nil
}

// Score returns the log-probability of each continuation as the reply to its messages. Requests that begin alike share the
// computation of their beginning, also with earlier requests. A text beyond the context is a *ContextError; an ended context is
// matched by errors.Is.
func (m *Model) Score(ctx context.Context, reqs []llm.ScoreRequest) ([]llm.Score, llm.Usage, error) {
	start := time.Now()
	usage := llm.Usage{Calls: 1}
	fail := func(err error) ([]llm.Score, llm.Usage, error) {
		usage.Failed, usage.MS = 1, ms(start)
		return nil, usage, fmt.Errorf("scoring with %s: %w", m.name, err)
	}
	done := make(chan *sequence, len(reqs))
	seqs := make([]*sequence, 0, len(reqs))
	scores := make([]llm.Score, len(reqs))
	index := make(map[*sequence]int, len(reqs))
	for i, r := range reqs {
		ids, err := m.encode(ctx, r.Messages)
		if err != nil {
			return fail(fmt.Errorf("request %d: %w", i, err))
		}
		prompt := len(ids)
		ids = append(ids, m.tok.Encode(r.Continuation, false)...)
		if len(ids) > m.context {
			return fail(fmt.Errorf("request %d: %w", i, &ContextError{Prompt: len(ids), Context: m.context}))
		}
		usage.In += len(ids)
		scores[i].Tokens = len(ids) - prompt
		if scores[i].Tokens == 0 {
			continue
		}
		seq := &sequence{ctx: ctx, ids: ids, prompt: len(ids), done: done, scoring: true, scoreFrom: prompt}
		seqs, index[seq] = append(seqs, seq), i
	}
	if len(seqs) > 0 {
		if err := m.sched.submit(ctx, seqs); err != nil {
			return fail(err)
		}
	}
	var err error
	for range seqs {
		seq := <-done
		if seq.err != nil {
			err = seq.err
		}
		scores[index[seq]].LogProb = seq.logProb
	}
	if err != nil {
		return fail(err)
	}
	usage.MS = ms(start)
	return scores, usage, nil
}

func ms(since time.Time) float64 { return float64(time.Since(since).Microseconds()) / 1000 }
