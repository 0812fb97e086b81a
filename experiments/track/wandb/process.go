package wandb

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/budgetmem/budgetmem/experiments/track"
)

//go:embed driver.py
var driver string

// patience bounds the time that the client may take to reach its server, and to end.
const patience = 20 * time.Second

// process is the client process of a run, a track.Session. Its errors are permanent: the client itself tries again where that
// can help.
type process struct {
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Reader
	printed bytes.Buffer
	end     func() error // waits for the process, after it was asked to end; may be called again
}

// reply is a line that the driver writes.
type reply struct {
	Next  int    `json:"next"`
	Error string `json:"error"`
}

// start starts the client. It is killed when ctx ends, and ends by itself when this program does.
func (s *Sink) start(ctx context.Context, dir string) (*process, error) {
	ctx, kill := context.WithCancel(ctx)
	p := &process{cmd: exec.CommandContext(ctx, s.Python, "-c", driver)}
	p.cmd.Env = environ(s.Mode, dir)
	p.cmd.Stderr = &p.printed
	p.cmd.WaitDelay = time.Second // the client's own server may hold the pipes a little longer
	p.end = sync.OnceValue(func() error {
		defer kill()
		defer time.AfterFunc(patience, kill).Stop()
		return p.cmd.Wait()
	})
	in, err := p.cmd.StdinPipe()
	if err == nil {
		p.in = in
		var out io.Reader
		if out, err = p.cmd.StdoutPipe(); err == nil {
			p.out = bufio.NewReader(out)
			err = p.cmd.Start()
		}
	}
	if err != nil {
		kill()
		return nil, track.Permanent{Err: fmt.Errorf("start the client: %w", err)}
	}
	return p, nil
}

// environ keeps the client's files together, and withholds the key from a client that does not need it.
func environ(mode, dir string) []string {
	var env []string
	for _, v := range os.Environ() {
		if mode == Online || !strings.HasPrefix(v, keyEnv+"=") {
			env = append(env, v)
		}
	}
	return append(env, "WANDB_SILENT=true", "WANDB_DATA_DIR="+dir, "WANDB_CACHE_DIR="+dir, "WANDB_CONFIG_DIR="+dir)
}

func (p *process) send(v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return track.Permanent{Err: err}
	}
	if _, err := p.in.Write(append(line, '\n')); err != nil {
		_, err := p.receive() // why it does not listen
		return err
	}
	return nil
}

func (p *process) receive() (reply, error) {
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		p.in.Close()
		ended := p.end() // after it, everything is printed
		text := strings.TrimSpace(p.printed.String())
		return reply{}, track.Permanent{Err: fmt.Errorf("the client has ended (%v): %s", ended, text[max(0, len(text)-500):])}
	}
	var r reply
	if err := json.Unmarshal(line, &r); err != nil {
		return reply{}, track.Permanent{Err: fmt.Errorf("the client answered %q: %w", line, err)}
	}
	if r.Error != "" {
		return reply{}, track.Permanent{Err: errors.New(r.Error)}
	}
	return r, nil
}

// Log implements track.Session.
func (p *process) Log(_ context.Context, steps []track.Step) error {
	for _, s := range steps {
		if err := p.send(map[string]any{"step": s.Step, "values": s.Values}); err != nil {
			return err
		}
	}
	return nil
}

// End implements track.Session.
func (p *process) End(_ context.Context, o track.Outcome) error {
	summary := map[string]any{}
	for name, v := range o.Summary {
		summary[name] = v
	}
	for name, v := range o.Notes {
		summary[name] = v
	}
	exit := 0
	if o.Status != track.Finished {
		exit = 1
	}
	err := p.send(map[string]any{"summary": summary, "files": o.Files, "exit": exit})
	if err == nil {
		_, err = p.receive()
	}
	return err
}

// Close implements track.Session. A client whose run was not ended keeps its data and exits.
func (p *process) Close() error {
	p.in.Close()
	_ = p.end() // how it goes says nothing that its answers did not
	return nil
}
