package run

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/budgetmem/budgetmem/internal/filelock"
	"github.com/budgetmem/budgetmem/internal/private"
	"github.com/budgetmem/budgetmem/internal/sealed"
)

// journal is the file of finished questions. Each is written as one line and flushed to the disk before the run continues,
// so a run that is killed at any moment loses nothing that it has reported. A question may occur more than once: the last
// line counts. Every line has a checksum; those of earlier versions had none.
type journal struct {
	path string
	f    *os.File
	// dropped says that a half-written last line was removed; "" if there was none.
	dropped string

	mu      sync.Mutex // held while a line is written
	written int        // lines
	size    int64      // of the whole lines in bytes
	failed  error      // why no more lines can be written
	// One flush serves all lines written before it: the disk is slow, and many questions may end at one time.
	flushing sync.Mutex
	flushed  int // of the lines written
}

// key names a question under a policy.
type key struct{ policy, id string }

// openJournal opens or creates the file, locks it for this process, and returns its records. A last line that was cut by a
// kill is removed; any other damage is an error.
func openJournal(path string) (*journal, map[key]Record, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, private.FileMode)
	if err != nil {
		return nil, nil, fmt.Errorf("open the run's journal: %w", err)
	}
	j := &journal{path: path, f: f}
	records, err := j.read()
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return j, records, nil
}

func (j *journal) read() (map[key]Record, error) {
	f, path := j.f, j.path
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
		j.dropped = fmt.Sprintf("%s: the last line was half written and is dropped, its question is asked again", path)
	}
	j.size = int64(whole)
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
	var lines sealed.Reader
	for n, line := range bytes.Split(data[:whole], []byte("\n")) {
		if len(line) == 0 {
			continue
		}
		line, err := lines.Open(line)
		if err != nil {
			return nil, 0, fmt.Errorf("%s:%d: %w; restore the file, or remove the line to have the question asked again", path, n+1, err)
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
	mine, err := j.write(append(sealed.Seal(line), '\n'))
	if err == nil {
		err = j.flush(mine)
	}
	if err != nil {
		return fmt.Errorf("record question %s in %s: %w", r.ID, j.path, err)
	}
	return nil
}

// write appends a line and returns its number. A line that could not be written in whole is removed, and no other may follow.
func (j *journal) write(line []byte) (n int, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.failed != nil {
		return 0, j.failed
	}
	if _, err := j.f.Write(line); err != nil {
		j.failed = errors.Join(err, j.f.Truncate(j.size))
		return 0, j.failed
	}
	j.size += int64(len(line))
	j.written++
	return j.written, nil
}

// flush returns once line n is on the disk.
func (j *journal) flush(n int) error {
	j.flushing.Lock()
	defer j.flushing.Unlock()
	if j.flushed >= n {
		return nil
	}
	j.mu.Lock()
	written, failed := j.written, j.failed
	j.mu.Unlock()
	if failed != nil {
		return failed
	}
	if err := j.f.Sync(); err != nil {
		// The system may have thrown away what it could not write, so that another try would succeed without it.
		j.mu.Lock()
		defer j.mu.Unlock()
		j.failed = err
		return err
	}
	j.flushed = written
	return nil
}

// Close releases the file.
func (j *journal) Close() error { return j.f.Close() }
