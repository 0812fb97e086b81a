// Package registry is about the one server of local models that a user's notebooks share: where it is, and how long it lives.
//
// In a folder of the user lie three files. The server holds a lock on one of them for as long as it lives, so there are never
// two; every notebook holds a shared lock, its lease, on another, and the server ends when it finds none; the third says where
// the server listens. Locks end with the process that holds them, however it ends.
package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"

	"github.com/budgetmem/budgetmem/internal/atomicfile"
)

const (
	// EnvServer names the environment variable with the base URL of a server to use instead of the shared one.
	EnvServer = "BUDGETMEM_SERVER"
	// EnvToken names the environment variable with the bearer token that servers want of their clients.
	EnvToken = "BUDGETMEM_SERVE_TOKEN"
)

const (
	// pollEvery is how often locks that others hold are tried.
	pollEvery = 50 * time.Millisecond
	// Linger is how long the server waits for another notebook after the last one: a kernel that is restarted finds its
	// models warm.
	Linger = 10 * time.Second
	// startLimit is how long to wait for a server that is being started.
	startLimit = time.Minute
)

// ErrNone is returned by Find where no server is and none is being started.
var ErrNone = errors.New("no server of local models is running; start one with `bmem serve --on-demand`, and set " + EnvServer + " to its address, such as http://127.0.0.1:8177/v1 (the notebook kernel starts one by itself)")

// Place is the folder where server and notebooks meet.
type Place string

// Default is the folder of this user: in the folder for things of a session ($XDG_RUNTIME_DIR), else in the cache folder.
func Default() (Place, error) {
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if dir == "" {
		var err error
		if dir, err = os.UserCacheDir(); err != nil {
			return "", fmt.Errorf("no folder to meet the server of local models in (set XDG_RUNTIME_DIR): %w", err)
		}
	}
	p := Place(filepath.Join(dir, "budgetmem", "server"))
	if err := os.MkdirAll(string(p), 0o700); err != nil {
		return "", fmt.Errorf("folder to meet the server of local models in: %w", err)
	}
	return p, nil
}

// Log is the file that a server started by Keep writes what it has to say into.
func (p Place) Log() string { return filepath.Join(string(p), "server.log") }

func (p Place) address() string      { return filepath.Join(string(p), "server.json") }
func (p Place) server() *flock.Flock { return flock.New(filepath.Join(string(p), "server.lock")) }
func (p Place) leases() *flock.Flock { return flock.New(filepath.Join(string(p), "leases.lock")) }

// Address is where the server listens.
type Address struct {
	URL string `json:"url"` // base URL, up to and with the version
	PID int    `json:"pid"`
}

// Running returns the address of the running server; ok is false if there is none, or none that listens yet.
func (p Place) Running() (a Address, ok bool) {
	if !held(p.server()) {
		return a, false
	}
	data, err := os.ReadFile(p.address())
	return a, err == nil && json.Unmarshal(data, &a) == nil && a.URL != ""
}

// held says whether another process has the lock to itself.
func held(lock *flock.Flock) bool {
	defer lock.Close()
	free, err := lock.TryRLock()
	return err == nil && !free
}

// Find returns the base URL of the server to use: what EnvServer names, or else the shared one's. While notebooks hold leases
// one is being started, and Find waits for it. ErrNone if there is none.
func Find(ctx context.Context) (string, error) {
	if u := os.Getenv(EnvServer); u != "" {
		return u, nil
	}
	p, err := Default()
	if err != nil {
		return "", err
	}
	return p.find(ctx)
}

func (p Place) find(ctx context.Context) (string, error) {
	for deadline := time.Now().Add(startLimit); ; {
		if a, ok := p.Running(); ok && listens(a.URL) {
			return a.URL, nil
		}
		if !held(p.server()) && !p.leased() {
			return "", ErrNone
		}
		if time.Now().After(deadline) {
			return "", fmt.Errorf("the server of local models did not come up within %v; its log is %s", startLimit, p.Log())
		}
		if err := sleep(ctx, pollEvery); err != nil {
			return "", fmt.Errorf("wait for the server of local models: %w", err)
		}
	}
}

// leased says whether any notebook holds a lease.
func (p Place) leased() bool {
	lock := p.leases()
	defer lock.Close()
	free, err := lock.TryLock()
	return err == nil && !free
}

// listens says whether somebody accepts connections at a base URL: not so if the server has just died.
func listens(base string) bool {
	u, err := url.Parse(base)
	if err != nil {
		return false
	}
	conn, err := net.DialTimeout("tcp", u.Host, time.Second)
	if err == nil {
		_ = conn.Close()
	}
	return err == nil
}

// Claim makes the calling process the one server until Close.
type Claim struct {
	place  Place
	lock   *flock.Flock
	leases *flock.Flock // locked once no notebook is left, so that none comes while the server ends
}

// Claim takes the place of the server. ok is false if another process has it.
func (p Place) Claim(ctx context.Context) (c *Claim, ok bool, err error) {
	c = &Claim{p, p.server(), p.leases()}
	// Those who look whether there is a server hold the lock for a moment.
	short, cancel := context.WithTimeout(ctx, 20*pollEvery)
	defer cancel()
	if ok, err = c.lock.TryLockContext(short, pollEvery/5); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return nil, false, fmt.Errorf("claim the place of the shared server: %w", err)
	}
	if !ok {
		return nil, false, errors.Join(c.lock.Close(), ctx.Err())
	}
	if err := os.Remove(p.address()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, false, errors.Join(fmt.Errorf("remove a former server's address: %w", err), c.lock.Close())
	}
	return c, true, nil
}

// Publish says where the server listens.
func (c *Claim) Publish(url string) error {
	data, err := json.Marshal(Address{url, os.Getpid()})
	if err == nil {
		err = atomicfile.WriteFile(c.place.address(), data, 0o600)
	}
	if err != nil {
		return fmt.Errorf("say where the shared server is: %w", err)
	}
	return nil
}

// WhileUsed returns a context that ends when ctx does, or when no notebook has held a lease for linger.
func (c *Claim) WhileUsed(ctx context.Context, linger time.Duration) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		for last := time.Now(); ; {
			free, err := c.leases.TryLock()
			switch {
			case err != nil:
				return // without the file nobody can hold a lease
			case !free:
				last = time.Now()
			case time.Since(last) > linger:
				return // with the lock, until Close
			default:
				if c.leases.Unlock() != nil {
					return
				}
			}
			if sleep(ctx, min(linger/10+1, time.Second)) != nil {
				return
			}
		}
	}()
	return ctx
}

// Close gives the place free.
func (c *Claim) Close() error {
	return errors.Join(os.Remove(c.place.address()), c.lock.Close(), c.leases.Close())
}

// sleep waits for d, or returns the context's error.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return cmp.Or(context.Cause(ctx), ctx.Err())
	}
}
