package registry

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// maxLog is from how many bytes on a log is begun anew.
const maxLog = 1 << 20

// Keep holds a lease until ctx ends, and sees to it that a server is there: it runs command to start one when there is none,
// at first and should it die. The command runs on its own and outlives the caller as long as others hold leases. It claims the
// place, or ends if somebody else did.
func (p Place) Keep(ctx context.Context, command func() *exec.Cmd) error {
	lease := p.leases()
	defer lease.Close()
	if ok, err := lease.TryRLockContext(ctx, pollEvery); !ok {
		return fmt.Errorf("lease the server of local models: %w", err)
	}
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval = time.Second, time.Minute
	for pause := time.Duration(0); ; {
		if held(p.server()) {
			wait.Reset()
			pause = time.Second
		} else {
			if err := p.start(command()); err != nil {
				return err
			}
			pause = wait.NextBackOff()
		}
		if sleep(ctx, pause) != nil {
			return nil
		}
	}
}

// start starts a server of its own session, which no signal to the caller's reaches.
func (p Place) start(cmd *exec.Cmd) error {
	if info, err := os.Stat(p.Log()); err == nil && info.Size() > maxLog {
		_ = os.Remove(p.Log())
	}
	log, err := os.OpenFile(p.Log(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("start the server of local models: %w", err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	detach(cmd)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the server of local models: %w", err)
	}
	go func() { _ = cmd.Wait() }() // what it has to say is in the log
	return nil
}
