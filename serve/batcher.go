package serve

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/budgetmem/budgetmem/bmem/embed"
)

// batchTexts is how many texts are embedded at a time.
const batchTexts = 128

// batcher embeds the texts of many requests together; every request gets a share of each batch. Its goroutine runs only
// while there are texts to embed.
type batcher struct {
	embedder embed.Embedder

	mu      sync.Mutex
	jobs    []*job
	running bool
}

// job is the texts of one request.
type job struct {
	ctx   context.Context
	texts []string
	taken int // texts in batches so far
	out   [][]float32
	left  int        // vectors to come
	done  chan error // has room for one
}

// embed returns one vector [d] for each text, in the same order.
func (b *batcher) embed(ctx context.Context, texts []string) ([][]float32, error) {
	j := &job{ctx: ctx, texts: texts, out: make([][]float32, len(texts)), left: len(texts), done: make(chan error, 1)}
	b.mu.Lock()
	b.jobs = append(b.jobs, j)
	if !b.running {
		b.running = true
		go b.run()
	}
	b.mu.Unlock()
	select {
	case err := <-j.done:
		return j.out, err
	case <-ctx.Done(): // vectors being computed for it are dropped
		return nil, ctx.Err()
	}
}

// share is the texts from, …, to-1 of a job.
type share struct {
	*job
	from, to int
}

func (b *batcher) run() {
	for {
		batch := b.next()
		if batch == nil {
			return
		}
		var texts []string
		for _, s := range batch {
			texts = append(texts, s.texts[s.from:s.to]...)
		}
		vectors, err := b.embedder.Embed(context.Background(), texts)
		if err == nil && len(vectors) != len(texts) {
			err = fmt.Errorf("%d vectors for %d texts", len(vectors), len(texts))
		}
		for _, s := range batch {
			if err != nil {
				b.end(s.job, fmt.Errorf("embed: %w", err))
				continue
			}
			n := copy(s.out[s.from:s.to], vectors)
			vectors = vectors[n:]
			if s.left -= n; s.left == 0 {
				b.end(s.job, nil)
			}
		}
	}
}

// next takes the texts of the next batch; nil if there are none, which ends run.
func (b *batcher) next() []share {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.jobs = slices.DeleteFunc(b.jobs, func(j *job) bool { return j.ctx.Err() != nil })
	if len(b.jobs) == 0 {
		b.running = false
		return nil
	}
	var batch []share
	room := batchTexts
	for i, j := range b.jobs {
		n := min(len(j.texts)-j.taken, max(1, room/(len(b.jobs)-i)))
		if room < n {
			break
		}
		batch = append(batch, share{j, j.taken, j.taken + n})
		j.taken += n
		room -= n
	}
	return batch
}

// end reports to a job's request that it is done.
func (b *batcher) end(j *job, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.jobs = slices.DeleteFunc(b.jobs, func(other *job) bool { return other == j })
	j.done <- err
}
