package track

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/budgetmem/budgetmem/internal/atomicfile"
)

// stateFile is the trackers' file in a run's folder.
const stateFile = "trackers.json"

// state is the content of stateFile.
type state struct {
	ID string `json:"id"`
	// Delivered is the digest of the outcome that a sink has received completely, by the sink's name.
	Delivered map[string]string `json:"delivered,omitempty"`

	path string
	mu   sync.Mutex
}

// openState reads a folder's state, or creates one with a new ID.
func openState(dir string) (*state, error) {
	s := &state{path: filepath.Join(dir, stateFile)}
	data, err := os.ReadFile(s.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s.ID = strings.ToLower(rand.Text()[:16])
		return s, s.write()
	case err != nil:
		return nil, fmt.Errorf("read the trackers' state: %w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(s); err != nil {
		return nil, fmt.Errorf("%s: not the state of trackers: %w; remove it to start new runs there", s.path, err)
	}
	if s.ID == "" {
		return nil, fmt.Errorf("%s: field \"id\" is missing; remove the file to start new runs there", s.path)
	}
	return s, nil
}

func (s *state) write() error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("write the trackers' state: %w", err)
	}
	return atomicfile.WriteFile(s.path, append(data, '\n'), 0o644)
}

// delivered returns the digest of the outcome that a sink has received completely, "" if none.
func (s *state) delivered(sink Sink) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Delivered[sink.String()]
}

// deliver records that a sink has received a run completely.
func (s *state) deliver(sink Sink, digest string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.Delivered == nil {
		s.Delivered = map[string]string{}
	}
	s.Delivered[sink.String()] = digest
	return s.write()
}

// digest identifies an outcome.
func (o Outcome) digest() string {
	data, err := json.Marshal(o)
	if err != nil {
		panic(err) // values are finite
	}
	h := sha256.Sum256(append(data, strings.Join(slices.Sorted(maps.Keys(o.Files)), "\n")...))
	return hex.EncodeToString(h[:])
}
