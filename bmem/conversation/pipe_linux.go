package conversation

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// openReader opens a pipe and waits until there is something to read, or until a writer came and went. The pipe is not opened
// in the way that waits for a writer: such a call cannot be given up, and would take what the next writer writes.
func openReader(ctx context.Context, path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if err := waitReadable(ctx, f); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// waitReadable waits until a read of f would not wait. File.Fd is not for this: it makes later reads such that closing does not end them.
func waitReadable(ctx context.Context, f *os.File) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	const between = 50 * time.Millisecond // looks at the context
	for ctx.Err() == nil {
		var n int
		var polled error
		err := conn.Control(func(fd uintptr) {
			n, polled = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(between.Milliseconds()))
		})
		if err != nil {
			return err
		}
		if polled != nil && !errors.Is(polled, unix.EINTR) {
			return os.NewSyscallError("poll", polled)
		}
		if n > 0 {
			return nil
		}
	}
	return context.Cause(ctx)
}
