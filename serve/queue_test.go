package serve

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/serve/api"
)

// slow sends the beginning of a request and then nothing.
func (r *running) slow(t *testing.T) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := fmt.Fprintf(c, "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{"); err != nil {
		t.Fatal(err)
	}
	return c
}

// Bodies that do not come take no place in the queue, and the oldest of too many is broken off.
func TestSlowBodies(t *testing.T) {
	s := start(t, Config{MaxQueue: 64})
	first := s.slow(t)
	for range 255 {
		s.slow(t)
	}
	begin := time.Now()
	if _, err := s.client("").CreateChatCompletion(t.Context(), say("hi")); err != nil || time.Since(begin) > 5*time.Second {
		t.Errorf("beside 256 slow bodies: %v after %v", err, time.Since(begin))
	}
	if h, err := api.GetHealth(t.Context(), s.addr, ""); err != nil || h.Queue.Depth != 0 || h.Queue.Refused != 0 {
		t.Errorf("health %+v, %v", h, err)
	}
	_ = first.SetReadDeadline(time.Now().Add(10 * time.Second))
	resp, err := http.ReadResponse(bufio.NewReader(first), nil)
	if err != nil || resp.StatusCode != http.StatusRequestTimeout {
		t.Errorf("the first slow body got %v, %v", resp, err)
	}
}

func TestPerClientLimit(t *testing.T) {
	addr := netip.MustParseAddr
	for _, c := range []struct {
		name      string
		perClient int
		client    netip.Addr
		places    int // of 8
	}{
		{"half for one address", 0, addr("10.0.0.1"), 4},
		{"this machine has all", 0, addr("127.0.0.1"), 8},
		{"a limit of one's own", 3, addr("10.0.0.1"), 3},
		{"which holds for this machine too", 3, addr("127.0.0.1"), 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := queue{limit: 8, perClient: c.perClient, clients: map[netip.Addr]int{}}
			var leave []func()
			for range 20 {
				if l, err := q.enter(c.client); err == nil {
					leave = append(leave, l)
				}
			}
			if len(leave) != c.places {
				t.Errorf("%d places, want %d", len(leave), c.places)
			}
			if l, err := q.enter(addr("10.0.0.2")); (err == nil) != (c.places < 8) {
				t.Errorf("another client: %v", err)
			} else if err == nil {
				l()
			}
			for _, l := range leave {
				l()
			}
			if depth, refused := q.counts(); depth != 0 || refused < int64(20-c.places) || len(q.clients) != 0 {
				t.Errorf("afterwards depth %d, refused %d, clients %v", depth, refused, q.clients)
			}
		})
	}
}

func TestClientOf(t *testing.T) {
	for remote, want := range map[string]string{
		"10.0.0.1:80": "10.0.0.1", "[::ffff:10.0.0.1]:80": "10.0.0.1", "[::1]:80": "::1", "[2001:db8:1:2:3:4:5:6]:80": "2001:db8:1:2::",
	} {
		if got := clientOf(&http.Request{RemoteAddr: remote}); got.String() != want {
			t.Errorf("%s: %s, want %s", remote, got, want)
		}
	}
}
