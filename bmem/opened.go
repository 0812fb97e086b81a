package bmem

import (
	"math"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/bmem/retrieve"
	"github.com/budgetmem/budgetmem/tiers/text"
)

// view names a history seen through a retrieval mode.
type view struct {
	memory string
	mode   retrieve.Mode
}

// opened is a retriever that the first question makes.
type opened struct {
	once      sync.Mutex
	retriever *retrieve.Live
	times     *times

	chunks int // guarded by openHistories.mu; 0 until it is made
}

// openHistories keeps the retrievers that were asked for last, as far as their chunks stay within a limit. A question keeps
// its own as long as it runs, whether it is here or not.
type openHistories struct {
	limit int // chunks

	mu     sync.Mutex
	recent *simplelru.LRU[view, *opened]
	chunks int // of all that are in recent
}

func newOpenHistories(limit int) *openHistories {
	h := &openHistories{limit: limit}
	// A list without a size of its own, as what counts is how many chunks there are.
	h.recent, _ = simplelru.NewLRU(math.MaxInt, func(_ view, o *opened) { h.chunks -= o.chunks }) // only a size below 1 is an error
	return h
}

// get returns what is open of a view, or makes an entry for it.
func (h *openHistories) get(v view) *opened {
	h.mu.Lock()
	defer h.mu.Unlock()
	o, ok := h.recent.Get(v)
	if !ok {
		o = &opened{}
		h.recent.Add(v, o)
	}
	return o
}

// loaded notes how many chunks a view's entry has now, and lets go of those that were asked for least recently.
func (h *openHistories) loaded(v view, o *opened, chunks int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if now, _ := h.recent.Peek(v); now != o {
		return // forgotten meanwhile
	}
	h.chunks += chunks - o.chunks
	o.chunks = chunks
	for h.chunks > h.limit && h.recent.Len() > 1 {
		h.recent.RemoveOldest()
	}
}

// forget lets go of a memory that is not there any more.
func (h *openHistories) forget(memory string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, v := range h.recent.Keys() {
		if v.memory == memory {
			h.recent.Remove(v)
		}
	}
}

// readTimes reads the times of chunks and writes them in a form that means the same to every reader. If these are not all chunks
// of the history, and the others may mean something else with them, it returns false.
func (o *opened) readTimes(chunks []chunk.Chunk, l text.Language, whole bool, order text.DateOrder) bool {
	if whole {
		o.times = readTimes(timesOf(chunks), order, l)
	} else if !o.times.extend(chunks) {
		return false
	}
	o.times.normalize(chunks)
	return true
}
