package bmem

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/bmem/conversation"
	"github.com/budgetmem/budgetmem/bmem/store"
)

// datasetPrefix begins the names of the memories of data sets. What follows has slashes too, so that no server offers them: the name of a
// served memory has none, and at most one after the name of its tenant.
const datasetPrefix = "data set/"

// oldDataset matches the names that earlier versions gave to the memories of data sets.
var oldDataset = regexp.MustCompile(`^[^/]+/.+@[0-9a-f]{12}/[0-9]+$`)

// IsDataset reports whether a memory's name is that of a conversation of a data set, which evaluations put there.
func IsDataset(memory string) bool {
	return strings.HasPrefix(memory, datasetPrefix) || oldDataset.MatchString(memory)
}

// DatasetConversation is a conversation of a data set: the data set's name, the conversation's id in it, and its turns. Hash is that of the
// data set, by which earlier versions named the memory.
type DatasetConversation struct {
	Dataset, ID, Hash string
	Turns             []chunk.Turn
}

// DatasetMemory is the memory of a conversation of a data set. It is safe for concurrent use.
type DatasetMemory struct {
	Name       string
	memory     *Memory
	generation int64
}

// OpenDataset returns the memory of a conversation of a data set, which holds exactly its turns in their order when this returns: it is made
// if there is none, and what was changed in it is put back. Its name tells the turns and the size of chunks, so that another edition of the
// conversation has a memory of its own.
func (m *Memory) OpenDataset(ctx context.Context, c DatasetConversation) (*DatasetMemory, error) {
	turns := conversation.WithoutAttachments(c.Turns)
	hash := strings.TrimPrefix(conversation.Name(turns), conversation.NamePrefix)
	d := &DatasetMemory{Name: fmt.Sprintf("%s%s/%s/%s/%d", datasetPrefix, c.Dataset, c.ID, hash, m.ChunkTokens()), memory: m}
	earlier := fmt.Sprintf("%s/%s@%.12s/%d", c.Dataset, c.ID, c.Hash, m.ChunkTokens())
	const tries = 5 // another process may change it meanwhile
	for range tries {
		now, err := m.store.Generation(ctx, d.Name)
		if errors.Is(err, ErrNoMemory) {
			if err = m.store.Rename(ctx, earlier, d.Name); err == nil || errors.Is(err, store.ErrMemoryExists) {
				continue
			}
			if errors.Is(err, ErrNoMemory) {
				_, err = m.Add(ctx, d.Name, turns)
			}
			if err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		same, err := m.holds(ctx, d.Name, turns)
		if err != nil && !errors.Is(err, ErrNoMemory) {
			return nil, err
		}
		if same {
			d.generation = now // read before the turns: what changes later is seen by Check
			return d, m.embedNew(ctx, d.Name)
		}
		if err := m.update(ctx, d.Name, turns); err != nil && !errors.Is(err, ErrNoMemory) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%w again and again: memory %q", ErrMemoryChanged, d.Name)
}

// holds reports whether a memory has exactly these turns in this order.
func (m *Memory) holds(ctx context.Context, name string, turns []chunk.Turn) (bool, error) {
	n := 0
	for t, err := range m.AllTurns(ctx, name) {
		if err != nil {
			return false, err
		}
		if n == len(turns) || t.Turn != turns[n] {
			return false, nil
		}
		n++
	}
	return n == len(turns), nil
}

// Check returns an ErrMemoryChanged if anything in the memory was added, changed or forgotten since it was opened, or all of it.
func (d *DatasetMemory) Check(ctx context.Context) error {
	now, err := d.memory.store.Generation(ctx, d.Name)
	if err != nil && !errors.Is(err, ErrNoMemory) {
		return err
	}
	if err != nil || now != d.generation {
		return fmt.Errorf("%w while its questions were asked: %q; the next start puts its turns back as the data set has them: what is to be left out has to be taken out of the data set's files",
			ErrMemoryChanged, d.Name)
	}
	return nil
}
