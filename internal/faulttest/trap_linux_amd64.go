package faulttest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Supported says whether this system can do it.
const Supported = true

// env tells a child to set its trap.
const env = "BUDGETMEM_TEST_TRAP"

// kinds are the system calls that the kernel asks about.
var kinds = map[int32]Kind{
	unix.SYS_WRITE: Write, unix.SYS_PWRITE64: Write, unix.SYS_FSYNC: Sync, unix.SYS_FDATASYNC: Sync,
	unix.SYS_RENAME: Rename, unix.SYS_RENAMEAT: Rename, unix.SYS_RENAMEAT2: Rename, unix.SYS_READ: Read, unix.SYS_PREAD64: Read,
}

// SetTrap is called first thing by the child. It does nothing in other processes.
func SetTrap() {
	if os.Getenv(env) == "" {
		return
	}
	if err := setTrap(); err != nil {
		fmt.Fprintln(os.Stderr, "set the trap:", err)
		os.Exit(3)
	}
}

// setTrap installs the filter for all threads and sends what the questions come from over descriptor 3.
func setTrap() error {
	filter := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}} // the number of the call
	for nr := range kinds {
		filter = append(filter,
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: uint32(nr)},
			unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_USER_NOTIF})
	}
	filter = append(filter, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW})
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	// Without this, only root may filter its calls. The filter takes it to the other threads.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("give up new privileges: %w", err)
	}
	const flags = unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_TSYNC | unix.SECCOMP_FILTER_FLAG_TSYNC_ESRCH
	listener, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return fmt.Errorf("install the filter: %w", errno)
	}
	if err := unix.Sendmsg(3, []byte{0}, unix.UnixRights(int(listener)), nil, 0); err != nil {
		return fmt.Errorf("send the listener: %w", err)
	}
	return errors.Join(unix.Close(int(listener)), unix.Close(3))
}

// Counts are how many operations of each kind there were below the folder.
type Counts map[Kind]int

// Run starts cmd, whose program calls SetTrap, and waits for it. The fault strikes below dir.
func Run(cmd *exec.Cmd, dir string, fault Fault) (Counts, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	theirs := os.NewFile(uintptr(pair[1]), "trap")
	mine := os.NewFile(uintptr(pair[0]), "trap")
	defer mine.Close()
	// A signal for the scheduler would end a call that waits for its answer, which would then be asked about twice.
	cmd.Env = append(cmd.Environ(), env+"=1", "GODEBUG=asyncpreemptoff=1")
	cmd.ExtraFiles = []*os.File{theirs}
	err = errors.Join(cmd.Start(), theirs.Close())
	if err != nil {
		return nil, err
	}
	s := &supervisor{dir: dir + "/", fault: fault, counts: Counts{}}
	var done sync.WaitGroup
	done.Go(func() { s.err = s.serve(mine) })
	err = cmd.Wait()
	done.Wait()
	if s.err != nil {
		return s.counts, fmt.Errorf("%w (child: %v)", s.err, err)
	}
	return s.counts, err
}

// supervisor answers the kernel's questions about one child.
type supervisor struct {
	dir    string
	fault  Fault
	counts Counts
	err    error
}

// notif is struct seccomp_notif, resp struct seccomp_notif_resp of linux/seccomp.h.
type notif struct {
	id    uint64
	pid   uint32
	flags uint32
	nr    int32
	arch  uint32
	ip    uint64
	args  [6]uint64
}

type resp struct {
	id    uint64
	val   int64
	error int32
	flags uint32
}

func (s *supervisor) serve(socket *os.File) error {
	listener, err := receive(socket)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(listener) }()
	for {
		poll := []unix.PollFd{{Fd: int32(listener), Events: unix.POLLIN}}
		if _, err := unix.Poll(poll, -1); errors.Is(err, unix.EINTR) {
			continue
		} else if err != nil {
			return fmt.Errorf("wait for a call: %w", err)
		}
		if poll[0].Revents&unix.POLLIN == 0 {
			return nil // the child has ended
		}
		var n notif
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(listener), unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(&n))); errno == unix.ENOENT || errno == unix.EINTR {
			continue // the thread is gone
		} else if errno != 0 {
			return fmt.Errorf("receive a call: %w", errno)
		}
		r := resp{id: n.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
		if errno := s.decide(n); errno != 0 {
			r.error, r.flags = -int32(errno), 0
		}
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(listener), unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&r))); errno != 0 && errno != unix.ENOENT {
			return fmt.Errorf("answer a call: %w", errno)
		}
	}
}

// decide returns the error that a call fails with, 0 for none.
func (s *supervisor) decide(n notif) syscall.Errno {
	kind := kinds[n.nr]
	if kind != Rename {
		path, err := os.Readlink("/proc/" + strconv.Itoa(int(n.pid)) + "/fd/" + strconv.Itoa(int(int32(n.args[0]))))
		if err != nil || !strings.HasPrefix(path, s.dir) {
			return 0
		}
	}
	s.counts[kind]++
	if kind == s.fault.Kind && s.fault.N > 0 && (s.counts[kind] == s.fault.N || s.fault.Stays && s.counts[kind] > s.fault.N) {
		return s.fault.Error
	}
	return 0
}

// receive returns the listener that the child sends.
func receive(socket *os.File) (int, error) {
	c, err := net.FileConn(socket)
	if err != nil {
		return 0, err
	}
	defer func() { _ = c.Close() }()
	var rights [64]byte
	_, n, _, _, err := c.(*net.UnixConn).ReadMsgUnix(make([]byte, 1), rights[:])
	if err != nil {
		return 0, fmt.Errorf("receive the listener: %w", err)
	}
	messages, err := unix.ParseSocketControlMessage(rights[:n])
	if err != nil || len(messages) != 1 {
		return 0, fmt.Errorf("the child set no trap: %w", err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return 0, err
	}
	return fds[0], nil
}
