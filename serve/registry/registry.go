// Package registry finds the one server of local models that a user's notebooks share, and decides how long it lives.
//
// It is a folder with three files. The server holds an exclusive lock on server.lock as long as it lives, so there is never
// a second one. Every notebook holds a shared lock, its client lock, on leases.lock; the server ends when it finds no such
// lock. server.json says where the server listens. The system releases a process's locks however the process ends.
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
	"github.com/budgetmem/budgetmem/serve/api"
)

const (
	// pollEvery is how often a lock that another process holds is tried.
	pollEvery = 50 * time.Millisecond
	// Linger is how long the server outlives the last notebook, so that a restarted kernel finds its models warm.
	Linger = 10 * time.Second
	// startLimit is how long Find waits for a server that is being started.
	startLimit = time.Minute
)

// ErrNone is returned by Find if no server is running or being started.
var ErrNone = errors.New("no server of local models is running; start one with `bmem serve --on-demand`, and set " + api.EnvServer + " to its address, such as http://127.0.0.1:8177/v1 (the notebook kernel starts one by itself)")

// Registry is the folder through which notebooks find the server.
type Registry string

// Default returns the registry of this user, which lies in $XDG_RUNTIME_DIR or else in the cache folder. It makes the folder if
// there is none. A system without such a folder, and a folder that cannot be made, are errors.
func Default() (Registry, error) {
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if dir == "" {
		var err error
		if dir, err = os.UserCacheDir(); err != nil {
			return "", fmt.Errorf("no folder for the registry of the shared server (set XDG_RUNTIME_DIR): %w", err)
		}
	}
	r := Registry(filepath.Join(dir, "budgetmem", "server"))
	if err := os.MkdirAll(string(r), 0o700); err != nil {
		return "", fmt.Errorf("folder for the registry of the shared server: %w", err)
	}
	return r, nil
}

// Log is the file that a server started by Keep logs to.
func (r Registry) Log() string { return filepath.Join(string(r), "server.log") }

func (r Registry) address() string       { return filepath.Join(string(r), "server.json") }
func (r Registry) server() *flock.Flock  { return flock.New(filepath.Join(string(r), "server.lock")) }
func (r Registry) clients() *flock.Flock { return flock.New(filepath.Join(string(r), "leases.lock")) }

// Running returns the address of the running server; ok is false if there is none or it does not listen yet.
func (r Registry) Running() (a api.Address, ok bool) {
	if !held(r.server()) {
		return a, false
	}
	data, err := os.ReadFile(r.address())
	return a, err == nil && json.Unmarshal(data, &a) == nil && a.URL != ""
}

// held reports whether another process has locked the file exclusively.
func held(lock *flock.Flock) bool {
	defer lock.Close()
	free, err := lock.TryRLock()
	return err == nil && !free
}

// Find returns the base URL of the server to use: what api.EnvServer names, or else the shared one's. While notebooks hold client
// locks one is being started, and Find waits for it. ErrNone if there is none.
func Find(ctx context.Context) (string, error) {
	if u := os.Getenv(api.EnvServer); u != "" {
		return u, nil
	}
	r, err := Default()
	if err != nil {
		return "", err
	}
	return r.find(ctx)
}

func (r Registry) find(ctx context.Context) (string, error) {
	for deadline := time.Now().Add(startLimit); ; {
		if a, ok := r.Running(); ok && listens(a.URL) {
			return a.URL, nil
		}
		if !held(r.server()) && !r.inUse() {
			return "", ErrNone
		}
		if time.Now().After(deadline) {
			return "", fmt.Errorf("the server of local models did not come up within %v; its log is %s", startLimit, r.Log())
		}
		if err := sleep(ctx, pollEvery); err != nil {
			return "", fmt.Errorf("wait for the server of local models: %w", err)
		}
	}
}

// inUse reports whether any notebook holds a client lock.
func (r Registry) inUse() bool {
	lock := r.clients()
	defer lock.Close()
	free, err := lock.TryLock()
	return err == nil && !free
}

// listens reports whether a base URL accepts connections. After a crash the registry may still name a server that is gone.
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

// ServerLock makes the calling process the one server until Close.
type ServerLock struct {
	registry Registry
	lock     *flock.Flock
	clients  *flock.Flock // locked while the server ends, so that no notebook comes in between
}

// LockServer makes the calling process the server. ok is false if another process is. If ctx ends, the error is its error.
func (r Registry) LockServer(ctx context.Context) (l *ServerLock, ok bool, err error) {
	l = &ServerLock{r, r.server(), r.clients()}
	// Processes that look for a server hold the lock for a moment.
	short, cancel := context.WithTimeout(ctx, 20*pollEvery)
	defer cancel()
	if ok, err = l.lock.TryLockContext(short, pollEvery/5); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return nil, false, fmt.Errorf("lock the registry of the shared server: %w", err)
	}
	if !ok {
		return nil, false, errors.Join(l.lock.Close(), ctx.Err())
	}
	if err := os.Remove(r.address()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, false, errors.Join(fmt.Errorf("remove the address of an earlier server: %w", err), l.lock.Close())
	}
	return l, true, nil
}

// Publish records where the server listens. A file that cannot be written is an error.
func (l *ServerLock) Publish(url string) error {
	data, err := json.Marshal(api.Address{URL: url, PID: os.Getpid()})
	if err == nil {
		err = atomicfile.WriteFile(l.registry.address(), data, 0o600)
	}
	if err != nil {
		return fmt.Errorf("publish the address of the shared server: %w", err)
	}
	return nil
}

// WhileUsed returns a context that ends with ctx, or when no notebook has held a client lock for linger.
func (l *ServerLock) WhileUsed(ctx context.Context, linger time.Duration) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		for last := time.Now(); ; {
			free, err := l.clients.TryLock()
			switch {
			case err != nil:
				return // without the file nobody can hold a client lock
			case !free:
				last = time.Now()
			case time.Since(last) > linger:
				return // holding the lock until Close
			default:
				if l.clients.Unlock() != nil {
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

// Close lets another process become the server. It joins the errors of releasing the locks.
func (l *ServerLock) Close() error {
	return errors.Join(os.Remove(l.registry.address()), l.lock.Close(), l.clients.Close())
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
