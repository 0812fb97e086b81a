//go:build unix

package workers_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/budgetmem/budgetmem/experiments/run"
	"github.com/budgetmem/budgetmem/experiments/workers"
)

// servers are the NATS servers of a test: one, or a cluster.
type servers []*process

// startServers starts n servers in a folder as processes of their own.
func startServers(t testing.TB, n int, dir string) servers {
	t.Helper()
	var addrs, clusters []string
	for range n {
		addrs, clusters = append(addrs, freeAddr(t)), append(clusters, freeAddr(t))
	}
	out := make(servers, n)
	for i := range out {
		c := child{Kind: "server", Addr: addrs[i], Dir: filepath.Join(dir, "nats"+strconv.Itoa(i)), Name: "n" + strconv.Itoa(i)}
		if n > 1 {
			c.Cluster, c.Routes = clusters[i], clusters
		}
		out[i] = c.start(t)
	}
	return out
}

// urls are the addresses of all servers as Connect takes them.
func (s servers) urls() string {
	var out []string
	for _, p := range s {
		out = append(out, "nats://"+p.Addr)
	}
	return strings.Join(out, ",")
}

// kill kills a server: of a cluster the one that leads a stream. It is started again after a while.
func (s servers) kill(t testing.TB, rng *rand.Rand, stream string) {
	t.Helper()
	i := 0
	if len(s) > 1 {
		i = s.leader(t, stream)
	}
	s[i].kill()
	time.Sleep(time.Duration(rng.IntN(400)) * time.Millisecond)
	s[i] = s[i].start(t)
}

// dial is a connection of the test's own.
func dial(t testing.TB, url string) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(url, nats.Timeout(5*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// leader finds the server that leads a stream, which is there.
func (s servers) leader(t testing.TB, stream string) int {
	t.Helper()
	js := dial(t, s.urls())
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		there, err := js.Stream(ctx, stream)
		cancel()
		if err == nil {
			info := there.CachedInfo()
			if c := info.Cluster; info.Config.Replicas != len(s) || c == nil {
				t.Fatalf("stream %s has %d replicas, want %d", stream, info.Config.Replicas, len(s))
			} else if i := slices.IndexFunc(s, func(p *process) bool { return p.Name == c.Leader }); i >= 0 {
				return i
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("stream %s has no leader: %v", stream, err)
		}
	}
}

// A cluster goes on without the servers that lead the tasks and the results. Nobody else dies, so that nothing is paid twice.
func TestClusterWithoutItsLeaders(t *testing.T) {
	t.Parallel() // most of the time it waits for elections
	torture{histories: 8, capacity: 4, latency: 5 * time.Millisecond, lease: 30 * time.Second, servers: 3, kinds: []string{"server"}, kills: 2, seed: uint64(time.Now().UnixNano())}.run(t)
}

func TestCluster(t *testing.T) {
	t.Parallel() // likewise
	all := startServers(t, 3, t.TempDir())
	var conns []*workers.Conn
	for _, s := range all {
		s.await()
		conns = append(conns, connect(t, "nats://"+s.Addr, "test", workers.DefaultLease))
	}
	t.Run("shows at once what it acknowledged", func(t *testing.T) {
		for i := range 30 {
			showsAtOnce(t, conns[i%3], conns[(i+1+i/3%2)%3], i)
		}
	})
	t.Run("gives a call to one after another", func(t *testing.T) { claimInTurn(t, conns) })
	// A run starts and ends while a server is away that has led its tasks.
	t.Run("does with two of three", func(t *testing.T) {
		all[all.leader(t, "BMEM_TASKS")].kill()
		e, url := newEndpoint(t, time.Millisecond)
		startWorker(t, all.urls(), url, "a", 3, nil)
		startWorker(t, all.urls(), url, "b", 3, nil)
		cfg, _, _ := coordinate(t, all.urls(), url, workers.DefaultLease)
		cfg.Policies = cfg.Policies[:2]
		if o, err := run.Run(t.Context(), cfg); err != nil || o.Done != o.Total {
			t.Fatalf("%v, %+v", err, o.Progress)
		}
		sameRun(t, cfg.Dir, localRun(t, func(c *run.Config) { c.Policies = cfg.Policies }))
		if different, again := e.counts(); again > 0 {
			t.Errorf("%d of %d calls were paid twice", again, different)
		}
	})
}

// showsAtOnce checks that b sees what the server of a has acknowledged: a reply, the spend limit, and that a call is free again.
func showsAtOnce(t *testing.T, a, b *workers.Conn, i int) {
	t.Helper()
	key := fmt.Sprintf("%064d", i)
	release, err := a.Replies().Claim(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Replies().Store(t.Context(), key, []byte("reply")); err != nil {
		t.Fatal(err)
	}
	if got, err := b.Replies().Load(t.Context(), key); err != nil || string(got) != "reply" {
		t.Fatalf("reply %d: %q, %v, want the one stored through another server", i, got, err)
	}
	release()
	start := time.Now()
	release, err = b.Replies().Claim(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	release()
	if wait := time.Since(start); wait > workers.DefaultLease/3 {
		t.Fatalf("a call that was given up could be claimed after %v", wait)
	}
	run := "r" + strconv.Itoa(i)
	if err := a.OpenLimit(t.Context(), run, 1, workers.Books{}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Books(t.Context(), run); err != nil {
		t.Fatal(err)
	}
}

// claimInTurn has many want the same calls. Each gets every one of them, and nobody while another has it.
func claimInTurn(t *testing.T, conns []*workers.Conn) {
	t.Helper()
	const keys, wanting = 8, 9
	var all errgroup.Group
	for i := range keys {
		key := fmt.Sprintf("%063da", i)
		var have atomic.Int32
		for j := range wanting {
			all.Go(func() error {
				release, err := conns[j%3].Replies().Claim(t.Context(), key)
				if err != nil {
					return err
				}
				if n := have.Add(1); n > 1 {
					t.Errorf("%d have call %d", n, i)
				}
				time.Sleep(time.Millisecond)
				have.Add(-1)
				release()
				return nil
			})
		}
	}
	if err := all.Wait(); err != nil {
		t.Error(err)
	}
}
