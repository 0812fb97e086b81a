package registry

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// maxLog is the size in bytes from which the log is replaced.
const maxLog = 1 << 20

// Keep holds a client lock until ctx ends, and runs command whenever there is no server. The command must call LockServer and
// end if another process is the server. It runs in a session of its own and outlives the caller as long as other processes hold
// client locks. It returns nil when ctx ends; a lock or program that fails is an error.
func (r Registry) Keep(ctx context.Context, command func() *exec.Cmd) error {
	lock := r.clients()
	defer lock.Close()
	if ok, err := lock.TryRLockContext(ctx, pollEvery); !ok {
		return fmt.Errorf("lock the registry of the shared server: %w", err)
	}
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval = time.Second, time.Minute
	for pause := time.Duration(0); ; {
		if held(r.server()) {
			wait.Reset()
			pause = time.Second
		} else {
			if err := r.start(command()); err != nil {
				return err
			}
			pause = wait.NextBackOff()
		}
		if sleep(ctx, pause) != nil {
			return nil
		}
	}
}

// start starts a server in a session of its own, which signals to the caller's session do not reach.
func (r Registry) start(cmd *exec.Cmd) error {
	if info, err := os.Stat(r.Log()); err == nil && info.Size() > maxLog {
		_ = os.Remove(r.Log())
	}
	log, err := os.OpenFile(r.Log(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("start the server of local models: %w", err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	detach(cmd)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the server of local models: %w", err)
	}
	go func() { _ = cmd.Wait() }() // its messages are in the log
	return nil
}
