package serve

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/serve/api"
)

// slow sends the beginning of a chat and then nothing.
func (r *running) slow(t *testing.T) net.Conn {
	t.Helper()
	return r.begin(t, "POST /v1/chat/completions")
}

// begin sends the beginning of a request and then nothing.
func (r *running) begin(t *testing.T, what string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := io.WriteString(c, what+" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{"); err != nil {
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

// A body that does not come is answered and the connection closed in time, whoever would read it; and it does not keep the server from stopping.
func TestBodiesThatNeverCome(t *testing.T) {
	swallow := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	})
	s := start(t, Config{Memories: swallow})
	s.readers.patience = 50 * time.Millisecond
	for _, what := range []string{"POST /v1/chat/completions", "POST /v1/memories/m/turns", "POST /v1/mcp", "DELETE /v1/memories/m/turns/1"} {
		c := s.begin(t, what)
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		in := bufio.NewReader(c)
		resp, err := http.ReadResponse(in, nil)
		if err != nil || resp.StatusCode < 400 {
			t.Errorf("%s: got %v, %v", what, resp, err)
			continue
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
			t.Errorf("%s: the connection stays: %v", what, err)
		}
	}
	s.readers.patience = time.Hour
	s.begin(t, "POST /v1/memories/m/turns")
	eventually(t, "the body is being read", func() bool {
		return func() bool { s.readers.mu.Lock(); defer s.readers.mu.Unlock(); return len(s.readers.open) == 1 }()
	})
	begin := time.Now()
	if err := s.stop(); err != nil || time.Since(begin) > 10*time.Second {
		t.Errorf("stopping took %v: %v", time.Since(begin), err)
	}
}

func TestPerClientLimit(t *testing.T) {
	addr := netip.MustParseAddr
	for _, c := range []struct {
		name      string
		perClient int
		client    client
		places    int // of 8
	}{
		{"half for one address", 0, client{addr: addr("10.0.0.1")}, 4},
		{"this machine has all", 0, client{addr: addr("127.0.0.1")}, 8},
		{"but for its tenants", 0, client{tenant: "ann"}, 4},
		{"a limit of one's own", 3, client{addr: addr("10.0.0.1")}, 3},
		{"which holds for this machine too", 3, client{addr: addr("127.0.0.1")}, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := queue{limit: 8, perClient: c.perClient, clients: map[client]int{}}
			var leave []func()
			for range 20 {
				if l, err := q.enter(c.client); err == nil {
					leave = append(leave, l)
				}
			}
			if len(leave) != c.places {
				t.Errorf("%d places, want %d", len(leave), c.places)
			}
			if l, err := q.enter(client{addr: addr("10.0.0.2")}); (err == nil) != (c.places < 8) {
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
