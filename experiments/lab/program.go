package lab

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/budgetmem/budgetmem/internal/child"
)

// Bmem runs the program bmem, that of the project or else the one on PATH, and returns its stdout. onLine, if not nil, is called
// with every line of its stderr. An interrupt of this program, or the end of ctx, interrupts it and waits for its end; the error
// then wraps context.Canceled.
func Bmem(ctx context.Context, onLine func(line string), args ...string) ([]byte, error) {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	path := Path("bin/bmem")
	if _, err := os.Stat(path); err != nil {
		if path, err = exec.LookPath("bmem"); err != nil {
			return nil, errors.New("there is no program bmem: run `make setup`, or put it on the PATH")
		}
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	child.DieTogether(cmd)
	var stdout bytes.Buffer
	cmd.Stdout = &stdout
	stderr, said := io.Pipe()
	cmd.Stderr = said
	last := make(chan string)
	go func() {
		lines := bufio.NewScanner(stderr)
		line := ""
		for lines.Scan() {
			if line = lines.Text(); onLine != nil {
				onLine(line)
			}
		}
		_, _ = io.Copy(io.Discard, stderr) // what is too long for a line
		last <- line
	}()
	err := cmd.Run()
	said.Close()
	line := <-last
	if err != nil {
		name := strings.Join(args[:min(len(args), 2)], " ")
		return nil, fmt.Errorf("bmem %s: %s: %w", name, strings.TrimPrefix(line, "bmem: "), cmp.Or(context.Cause(ctx), err))
	}
	return stdout.Bytes(), nil
}
