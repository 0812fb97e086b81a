//go:build unix

package workers_test

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/experiments/workers/natsserver"
)

// A claim lies in the server's memory. Giving one up after a restart leaves others alone, also one that has its number now.
func TestClaimOfAnotherStays(t *testing.T) {
	t.Parallel()
	dir, addr := t.TempDir(), freeAddr(t)
	s, err := natsserver.Start(natsserver.Config{Addr: addr, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	const lease = 30 * time.Second
	a, b, c := connect(t, s.ClientURL(), "a", lease), connect(t, s.ClientURL(), "b", lease), connect(t, s.ClientURL(), "c", lease)
	release, err := a.Replies().Claim(t.Context(), "k1")
	if err != nil {
		t.Fatal(err)
	}
	s.Stop()
	if s, err = natsserver.Start(natsserver.Config{Addr: addr, Dir: dir}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	if _, err := b.Replies().Claim(t.Context(), "k2"); err != nil {
		t.Fatal(err)
	}
	release()
	a.Close() // waits until it is given up
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := c.Replies().Claim(ctx, "k2"); err == nil {
		t.Error("k2 was claimed while another has it: its call would be paid for twice")
	}
}

// A claim is kept while its call is under way, also after the reply to an update of it was lost.
func TestClaimIsKeptAfterALostReply(t *testing.T) {
	t.Parallel()
	url := startServer(t)
	const lease = 2 * time.Second
	a, c := connect(t, url, "a", lease), connect(t, url, "c", lease)
	release, err := a.Replies().Claim(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	kv, err := dial(t, url).KeyValue(t.Context(), "bmem_claims")
	if err != nil {
		t.Fatal(err)
	}
	e, err := kv.Get(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Update(t.Context(), "k", e.Value(), e.Revision()); err != nil { // what the server did before the reply was lost
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*lease)
	defer cancel()
	if _, err := c.Replies().Claim(ctx, "k"); err == nil {
		t.Error("the claim ended while its holder was there")
	}
}

// A call that is given up while the server cannot be reached is free as soon as it can, not when the claim's lease ends.
func TestClaimGivenUpWhileAwayIsFree(t *testing.T) {
	t.Parallel()
	url := startServer(t)
	way := newWay(t, strings.TrimPrefix(url, "nats://"))
	const lease = 30 * time.Second
	a, b := connect(t, "nats://"+way.addr, "a", lease), connect(t, url, "b", lease)
	release, err := a.Replies().Claim(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	way.cut()
	release()
	time.Sleep(100 * time.Millisecond)
	way.mend()
	ctx, cancel := context.WithTimeout(t.Context(), lease/3)
	defer cancel()
	if _, err := b.Replies().Claim(ctx, "k"); err != nil {
		t.Errorf("nobody makes the call, and it cannot be claimed: %v", err)
	}
}

// way is a connection to a server that can be cut.
type way struct {
	addr, to string
	t        testing.TB

	mu    sync.Mutex
	in    net.Listener
	conns []net.Conn
}

func newWay(t testing.TB, to string) *way {
	w := &way{addr: freeAddr(t), to: to, t: t}
	w.mend()
	t.Cleanup(w.cut)
	return w
}

// mend lets connections through.
func (w *way) mend() {
	in, err := net.Listen("tcp", w.addr)
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	w.in = in
	w.mu.Unlock()
	go func() {
		for {
			from, err := in.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("tcp", w.to)
			if err != nil {
				from.Close()
				continue
			}
			w.mu.Lock()
			w.conns = append(w.conns, from, to)
			w.mu.Unlock()
			go func() { _, _ = io.Copy(to, from); to.Close() }()
			go func() { _, _ = io.Copy(from, to); from.Close() }()
		}
	}()
}

// cut ends the connections and lets none through.
func (w *way) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.in.Close()
	for _, c := range w.conns {
		c.Close()
	}
	w.conns = nil
}
