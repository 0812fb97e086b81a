package display

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/janpfeifer/gonb/gonbui"
	"github.com/janpfeifer/gonb/gonbui/protocol"
)

// patience is how long the kernel may take to confirm an output. The kernel waits only for Jupyter's own sockets.
const patience = 30 * time.Second

// sending guards gonbui's connection, which is the program's one and which gonbui does not guard while it waits.
var sending sync.Mutex

// send hands an output to the kernel and waits until it has passed it on. The kernel reads outputs in order and stops
// reading when the program ends, so what was not confirmed may be lost.
func send(data *protocol.DisplayData) error { return sendWithin(patience, data) }

func sendWithin(patience time.Duration, data *protocol.DisplayData) error {
	sending.Lock()
	defer sending.Unlock()
	confirmed := make(chan error, 1)
	go func() { // a kernel that is gone never confirms
		gonbui.SendData(data)
		gonbui.Sync()
		confirmed <- gonbui.Error()
	}()
	select {
	case err := <-confirmed:
		if err != nil {
			return fmt.Errorf("the connection to the kernel: %w", err)
		}
		return nil
	case <-time.After(patience):
		return errors.New("the kernel has not confirmed the output within " + patience.String())
	}
}

// session is shared by the programs of one kernel, one per cell.
type session struct {
	dir string // the kernel's temporary folder; "" if unknown
	pid int    // of this program
}

func (s session) file() string { return filepath.Join(s.dir, "budgetmem-echarts") }

// bringsLibrary reports whether the output of a chart must hold the chart library: if no chart of the session had it yet, or
// if this chart had it in an earlier program, whose output is now replaced.
func (s session) bringsLibrary(name string) bool {
	if s.dir == "" {
		return true
	}
	b, err := os.ReadFile(s.file())
	if err != nil {
		return true
	}
	by, pid, _ := strings.Cut(string(b), " ")
	return by == name && pid != strconv.Itoa(s.pid)
}

// broughtLibrary records for later programs that a chart's output holds the library.
func (s session) broughtLibrary(name string) error {
	if s.dir == "" {
		return nil
	}
	if err := os.WriteFile(s.file(), []byte(name+" "+strconv.Itoa(s.pid)), 0o600); err != nil {
		return fmt.Errorf("note which chart holds the chart library: %w", err)
	}
	return nil
}
