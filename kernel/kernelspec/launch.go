package kernelspec

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/budgetmem/budgetmem/internal/child"
	"github.com/budgetmem/budgetmem/serve/registry"
)

// Launch runs the kernel with Jupyter's connection file until the kernel ends, and keeps the server for its cells running
// meanwhile. The kernel's messages go to log; if it fails, the error has the last of them.
//
// A termination signal is passed on, and the end of Jupyter counts as one. An interrupt is not passed on: Jupyter interrupts cells
// by a message.
func (s Spec) Launch(ctx context.Context, connectionFile string, log io.Writer) error {
	env, err := s.environ(ctx, os.Environ())
	if err != nil {
		return fmt.Errorf("launch the kernel: %w", err)
	}
	serving := s.keepServer(ctx, log)
	defer serving()

	// On Linux the kernel gets a signal when the thread that started it ends, so this thread must live as long as the process.
	runtime.LockOSThread()
	end := &child.Tail{Bytes: 4 << 10}
	cmd := exec.Command(filepath.Join(s.Tools, "gonb"), "-kernel", connectionFile, "-go_work", s.Source, "-raw_error")
	cmd.Env = env
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, io.MultiWriter(end, log)
	child.DieTogether(cmd)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("launch the kernel: %w (`bmem kernel doctor` says more)", err)
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	orphaned := time.NewTicker(time.Second)
	defer orphaned.Stop()
	parent, asked := jupyterPID(), false
	for {
		select {
		case <-orphaned.C:
			if parent != 0 && os.Getppid() != parent {
				parent, asked = 0, true
				_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
			}
		case <-signals:
			asked = true
			_ = cmd.Process.Signal(syscall.SIGTERM)
		case err := <-ended:
			if err != nil && !asked {
				return fmt.Errorf("the kernel failed: %w\n%s", err, end)
			}
			return nil
		}
	}
}

// jupyterPID is the process that started this one, if that is Jupyter and wants its kernels to end with it; else 0.
func jupyterPID() int {
	parent := os.Getppid()
	if os.Getenv("JPY_PARENT_PID") != strconv.Itoa(parent) {
		return 0
	}
	return parent
}

// keepServer holds a client lock of the shared server, and returns the function that releases it.
func (s Spec) keepServer(ctx context.Context, log io.Writer) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		r, err := registry.Default()
		if err == nil {
			err = r.Keep(ctx, func() *exec.Cmd {
				cmd := exec.Command(s.Bmem, "serve", "--shared")
				cmd.Dir = string(r)
				return cmd
			})
		}
		if err != nil && ctx.Err() == nil {
			fmt.Fprintln(log, "bmem:", err) // cells that need the server will say so too
		}
	}()
	return func() { cancel(); <-done }
}
