package run

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/budgetmem/budgetmem/internal/filelock"
)

// journal is the file of finished questions. Each is written as one line and flushed to the disk before the run continues,
// so a run that is killed at any moment loses nothing that it has reported. A question may occur more than once: the last
// line counts.
type journal struct {
	path string
	f    *os.File

	mu      sync.Mutex // held while a line is written
	written int        // lines
	// One flush serves all lines written before it: the disk is slow, and many questions may end at one time.
	flushing sync.Mutex
	flushed  int // of the lines written
}

// key names a question under a policy.
type key struct{ policy, id string }

// openJournal opens or creates the file, locks it for this process, and returns its records. A last line that was cut by a
// kill is removed; any other damage is an error.
func openJournal(path string) (*journal, map[key]Record, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, nil, fmt.Errorf("open the run's journal: %w", err)
	}
	records, err := readJournal(f, path)
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return &journal{path: path, f: f}, records, nil
}

func readJournal(f *os.File, path string) (map[key]Record, error) {
	if err := filelock.Try(f); err != nil {
		return nil, fmt.Errorf("%s is in use by another process; wait for it, or give this run another name: %w", path, err)
	}
	data, err := io.ReadAll(f)
	if err != nil {
		return nil, fmt.Errorf("read the run's journal: %w", err)
	}
	records, whole, err := parseJournal(path, data)
	if err != nil {
		return nil, err
	}
	if whole < len(data) {
		if err := f.Truncate(int64(whole)); err != nil {
			return nil, fmt.Errorf("remove the half-written last line of %s: %w", path, err)
		}
	}
	if _, err := f.Seek(int64(whole), io.SeekStart); err != nil {
		return nil, fmt.Errorf("read the run's journal: %w", err)
	}
	return records, nil
}

// parseJournal returns the records of a journal and the length of its complete lines in bytes. An incomplete last line is
// still being written, or was when the run was killed.
func parseJournal(path string, data []byte) (records map[key]Record, whole int, err error) {
	whole = bytes.LastIndexByte(data, '\n') + 1
	records = map[key]Record{}
	for n, line := range bytes.Split(data[:whole], []byte("\n")) {
		if len(line) == 0 {
			continue
		}
		var r Record
		if err := json.Unmarshal(line, &r); err != nil {
			return nil, 0, fmt.Errorf("%s:%d: not a record of a question: %w; remove the line to have the question asked again", path, n+1, err)
		}
		records[key{r.Policy, r.ID}] = r
	}
	return records, whole, nil
}

// append writes a record and returns once it is on the disk.
func (j *journal) append(r Record) error {
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("record question %s: %w", r.ID, err)
	}
	j.mu.Lock()
	_, err = j.f.Write(append(line, '\n'))
	j.written++
	mine := j.written
	j.mu.Unlock()
	if err == nil {
		err = j.flush(mine)
	}
	if err != nil {
		return fmt.Errorf("record question %s in %s: %w", r.ID, j.path, err)
	}
	return nil
}

// flush returns once line n is on the disk.
func (j *journal) flush(n int) error {
	j.flushing.Lock()
	defer j.flushing.Unlock()
	if j.flushed >= n {
		return nil
	}
	j.mu.Lock()
	written := j.written
	j.mu.Unlock()
	if err := j.f.Sync(); err != nil {
		return err
	}
	j.flushed = written
	return nil
}

// Close releases the file.
func (j *journal) Close() error { return j.f.Close() }
