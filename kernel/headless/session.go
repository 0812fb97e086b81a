package headless

import (
	"bufio"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/budgetmem/budgetmem/internal/child"
	"github.com/budgetmem/budgetmem/internal/venv"
	"github.com/budgetmem/budgetmem/kernel/notebook"
)

//go:embed driver.py
var driver string

// The driver's events; driver.py says what each means.
const (
	started = "started"
	ready   = "ready"
	output  = "output"
	done    = "done"
	failed  = "failed"
)

type event struct {
	Event   string                    `json:"event"`
	Group   int                       `json:"group"`
	Output  notebook.Output           `json:"output"`
	Count   int                       `json:"count"`
	Outputs map[int][]notebook.Output `json:"outputs"`
	Error   string                    `json:"error"`
}

// session is a kernel and its driver.
type session struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	log    *child.Tail
	events chan event // closed when the driver has ended
	group  int        // the kernel's process group, 0 before it is known; to read once events is closed
	closed bool
}

// newLog keeps the end of a Python program's output, which has the cause of a failure.
func newLog() *child.Tail { return &child.Tail{Bytes: 2000} }

// closing is how long the driver may take to end the kernel.
const closing = 15 * time.Second

// open starts a kernel that works in a folder; its first event is started or failed.
func open(kernel, folder string) (*session, error) {
	python, err := venv.Program("python")
	if err != nil {
		return nil, fmt.Errorf("run the kernel %s: %w", kernel, err)
	}
	s := &session{cmd: exec.Command(python, "-c", driver, kernel, folder), log: newLog(), events: make(chan event)}
	s.cmd.Stderr = s.log
	s.cmd.WaitDelay = time.Second
	ownGroup(s.cmd) // so that an interrupt from the terminal comes here alone
	if s.stdin, err = s.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("run the kernel %s: %w", kernel, err)
	}
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("run the kernel %s: %w", kernel, err)
	}
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("run the kernel %s: %w", kernel, err)
	}
	go s.read(stdout)
	return s, nil
}

func (s *session) read(stdout io.Reader) {
	defer close(s.events)
	lines := bufio.NewReader(stdout)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return // the driver has ended
		}
		var e event
		if err := json.Unmarshal(line, &e); err != nil {
			e = event{Event: failed, Error: fmt.Sprintf("the driver said %.80q: %v", line, err)}
		}
		if e.Event == started {
			s.group = e.Group
		}
		s.events <- e
	}
}

// say sends the driver a command.
func (s *session) say(command map[string]any) error {
	line, err := json.Marshal(command)
	if err == nil {
		_, err = s.stdin.Write(append(line, '\n'))
	}
	if err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("speak to the kernel's driver: %w", err)
	}
	return nil
}

// close ends the kernel and the processes it started, and returns the events that were not read.
func (s *session) close() []event {
	if s.closed {
		return nil
	}
	s.closed = true
	s.stdin.Close()
	kill := time.AfterFunc(closing, func() { killGroup(s.cmd.Process.Pid) })
	defer kill.Stop()
	var rest []event
	for e := range s.events {
		rest = append(rest, e)
	}
	if err := s.cmd.Wait(); err != nil && s.group != 0 {
		killGroup(s.group) // a driver that was killed could not do it
	}
	return rest
}
