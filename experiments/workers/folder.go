package workers

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/budgetmem/budgetmem/internal/atomicfile"
	"github.com/budgetmem/budgetmem/internal/filelock"
	"github.com/budgetmem/budgetmem/internal/money"
	"github.com/budgetmem/budgetmem/internal/private"
	"github.com/budgetmem/budgetmem/tiers/llm"
)

// folderFile is the file in a run's folder that holds what its workers have to do with it.
const folderFile = "workers.json"

// CoordinatorHolder names the coordinator's own ledger among the holders of a limit.
const CoordinatorHolder = "coordinator"

// Folder is what a run's folder knows of its workers.
type Folder struct {
	// ID identifies the folder at a server.
	ID string `json:"run"`
	// Books are the last known state of its spend limit.
	Books Books `json:"books"`

	path string
}

// LockFolder keeps other processes from coordinating the run of a folder, which is there, until unlock is called or this process ends: to
// workers and server both would be the same run. That another one does already is an error.
func LockFolder(dir string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(dir, "workers.lock"), os.O_RDWR|os.O_CREATE, private.FileMode)
	if err != nil {
		return nil, fmt.Errorf("lock the run's folder: %w", err)
	}
	if err := filelock.Try(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s is in use by another process; wait for it, or give this run another name: %w", dir, err)
	}
	return func() { f.Close() }, nil
}

// OpenFolder reads what a run's folder, which is there, knows of workers. It writes nothing; see Save. A file that cannot be
// read or parsed is an error.
func OpenFolder(dir string) (*Folder, error) {
	f := &Folder{path: filepath.Join(dir, folderFile)}
	data, err := os.ReadFile(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		f.ID = strings.ToLower(rand.Text())[:20]
		return f, nil
	} else if err != nil {
		return nil, fmt.Errorf("read what the run knows of workers: %w", err)
	}
	if err := json.Unmarshal(data, f); err != nil || f.ID == "" || strings.ContainsAny(f.ID, ".*> \t\r\n") {
		return nil, fmt.Errorf("%s is damaged: %w; it has what workers have spent: restore it, or give the run another name", f.path, errors.Join(err, errors.New("want a run's identity and its books")))
	}
	return f, nil
}

// Save writes the file, whole or not at all.
func (f *Folder) Save() error {
	if err := atomicfile.WriteJSON(f.path, f); err != nil {
		return fmt.Errorf("keep what the run knows of workers: %w", err)
	}
	return nil
}

// keep writes the file if the books have changed.
func (f *Folder) keep(b Books) error {
	if reflect.DeepEqual(f.Books, b) {
		return nil
	}
	f.Books = b
	return f.Save()
}

// Elsewhere is how much of the run's limit other machines have spent, or may have, in dollars.
func (f *Folder) Elsewhere() float64 {
	var held money.Picodollars
	for name, h := range f.Books.Holders {
		if name != CoordinatorHolder {
			held = held.Plus(h.Held)
		}
	}
	return held.Dollars()
}

// Slot is a worker's place on its machine: the ledger of what it spends for a run.
type Slot struct {
	// Holder is the ledger's name among all machines, Path its file.
	Holder, Path string

	lock *os.File
}

// mostSlots bounds how many workers of one machine serve the same run.
const mostSlots = 1000

// TakeSlots takes the first free place of a run in a folder of this machine, and those that dead workers left behind. What these have
// spent is to be reported; their slots are closed then.
// It fails when every place is taken, or the folder cannot be written.
func TakeSlots(dir, run string) (mine *Slot, left []*Slot, err error) {
	if err := private.Dir(dir); err != nil {
		return nil, nil, fmt.Errorf("make the folder of the workers' ledgers: %w", err)
	}
	machine, err := machineID(filepath.Join(dir, "machine"))
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			for _, s := range append(left, mine) {
				s.Close()
			}
			mine, left = nil, nil
		}
	}()
	for n := range mostSlots {
		path := filepath.Join(dir, fmt.Sprintf("%s-%d.db", run, n))
		if _, err := os.Stat(path); mine != nil && errors.Is(err, fs.ErrNotExist) {
			return mine, left, nil
		}
		f, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, private.FileMode)
		if err != nil {
			return mine, left, fmt.Errorf("take a worker's place: %w", err)
		}
		if err := filelock.Try(f); errors.Is(err, filelock.ErrHeld) {
			f.Close()
			continue
		} else if err != nil {
			f.Close()
			return mine, left, fmt.Errorf("take a worker's place: %w", err)
		}
		s := &Slot{fmt.Sprintf("%s-%d", machine, n), path, f}
		if mine == nil {
			mine = s
		} else {
			left = append(left, s)
		}
	}
	return mine, left, fmt.Errorf("%d workers of this machine serve the run already", mostSlots)
}

// Close gives the place up.
func (s *Slot) Close() {
	if s != nil {
		s.lock.Close()
	}
}

// machineID returns what identifies this machine, or this cache folder, and makes it when it is first asked for.
func machineID(path string) (string, error) {
	for {
		data, err := os.ReadFile(path)
		if id := strings.TrimSpace(string(data)); err == nil && id != "" {
			return id, nil
		} else if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("read the machine's identity %s: %w", path, errors.Join(err, errors.New("want a line of text")))
		}
		made := path + "-" + rand.Text()
		if err := os.WriteFile(made, []byte(strings.ToLower(rand.Text())[:16]+"\n"), private.FileMode); err != nil {
			return "", fmt.Errorf("make the machine's identity: %w", err)
		}
		err = os.Link(made, path) // fails if another process was first
		_ = os.Remove(made)       // the link is what stays
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return "", fmt.Errorf("make the machine's identity: %w", err)
		}
	}
}

// Settle reports what a dead worker has spent for a run according to its ledger, and gives back the rest of what it held.
// Errors: llm.ErrLedger for a ledger that cannot be read.
func (s *Slot) Settle(ctx context.Context, c *Conn, run string) error {
	l, err := llm.OpenLedger(s.Path, 0)
	if err != nil {
		return err
	}
	return errors.Join(l.Share(ctx, c.Allowance(run, s.Holder)), l.Close())
}
