package serve

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/experiments/run/runtest"
	"github.com/budgetmem/budgetmem/serve/mcp"
	"github.com/budgetmem/budgetmem/serve/memory"
	"github.com/budgetmem/budgetmem/serve/tenant"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

const (
	// soakMemoriesEnv is how long TestSoakMemories goes on, such as 5m; `make soak-memories` sets it.
	soakMemoriesEnv = "BUDGETMEM_SOAK_MEMORIES"
	// soakServerEnv makes this test binary one of its servers: folder of the store, a blank, URL of the model.
	soakServerEnv = "BUDGETMEM_SOAK_SERVER"

	soakClients, soakTenants, soakMemories = 64, 8, 4
	soakSession                            = 12    // turns of a session
	soakHour                               = 0.005 // dollars of the poorest tenant
)

func TestMain(m *testing.M) {
	if spec := os.Getenv(soakServerEnv); spec != "" {
		if err := soakServer(spec); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// soakServer serves the memories in a folder until it is told to end.
func soakServer(spec string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	dir, model, _ := strings.Cut(spec, " ")
	m, _, closeAll, err := runtest.Open(runtest.Rig{URL: model, Dir: dir})
	if err != nil {
		return err
	}
	defer closeAll()
	ledger, err := tenant.OpenLedger(filepath.Join(dir, tenant.LedgerFile))
	if err != nil {
		return err
	}
	defer ledger.Close()
	tenants, err := tenant.Load(filepath.Join(dir, "tenants.yaml"), ledger)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	s, err := New(Config{Chats: []ChatModel{echo{}}, Tenants: tenants, Memories: mcp.Routes(memory.New(m, memory.Options{Log: log}), "test", 0, log), Log: log})
	if err != nil {
		return err
	}
	ln, err := Listen("127.0.0.1:0", true)
	if err != nil {
		return err
	}
	fmt.Println(ln.Addr())
	go func() {
		for asked := bufio.NewScanner(os.Stdin); asked.Scan(); {
			bytes, _, _ := held()
			fmt.Println(bytes)
		}
	}()
	return s.Serve(ctx, ln)
}

// soakProcess is a server in a process of its own.
type soakProcess struct {
	in  io.Writer
	out *bufio.Reader
}

// line is the next line that the server writes.
func (p soakProcess) line(t *testing.T) string {
	t.Helper()
	line, err := p.out.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

// held is how many bytes of heap and stacks the server holds. What the system gives the process says less: it depends on when the
// collector last ran.
func (p soakProcess) held(t *testing.T) int {
	t.Helper()
	if _, err := io.WriteString(p.in, "\n"); err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(p.line(t))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Many clients of several tenants add, ask and forget at two processes with one store: nothing is lost, nothing doubled, no budget passed,
// and memory does not grow.
func TestSoakMemories(t *testing.T) {
	length := 3 * time.Second
	long := os.Getenv(soakMemoriesEnv)
	if long != "" {
		var err error
		if length, err = time.ParseDuration(long); err != nil {
			t.Fatalf("%s: %v", soakMemoriesEnv, err)
		}
	}
	model := llmtest.New(llmtest.Config{Reply: runtest.Reply})
	t.Cleanup(model.Close)
	dir := t.TempDir()
	var yaml strings.Builder
	yaml.WriteString("tenants:\n")
	for i := range soakTenants {
		fmt.Fprintf(&yaml, "- {name: t%d, tokens: [%s], dollars: {question: 0.01, hour: %v, day: 1000}}\n", i, tenant.HashToken(fmt.Sprint("token-", i)), []float64{soakHour, 1000}[min(i, 1)])
	}
	if err := os.WriteFile(filepath.Join(dir, "tenants.yaml"), []byte(yaml.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	var addrs []string
	var servers []soakProcess
	for range 2 {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), soakServerEnv+"="+dir+" "+model.URL())
		cmd.Stderr = t.Output()
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		p := soakProcess{in, bufio.NewReader(out)}
		addrs, servers = append(addrs, p.line(t)), append(servers, p)
	}
	clients := make([]*soaked, soakClients)
	until := time.Now().Add(length)
	// On a busy machine the budget of an hour is not spent within seconds: the short form goes on until it is.
	var refused atomic.Bool
	goesOn := func() bool {
		return !t.Failed() && (time.Now().Before(until) || long == "" && !refused.Load() && time.Now().Before(until.Add(time.Minute)))
	}
	transport := &http.Transport{MaxIdleConnsPerHost: soakClients}
	defer transport.CloseIdleConnections()
	var all sync.WaitGroup
	for i := range clients {
		c := &soaked{t: t, id: i, rng: rand.New(rand.NewPCG(9, uint64(i))), token: fmt.Sprint("token-", i%soakTenants), addrs: addrs, http: &http.Client{Transport: transport},
			live: map[string]map[string]string{}, session: map[string]int{}, counts: map[string]int{}}
		for m := range soakMemories {
			c.live[fmt.Sprint("m", m)], c.session[fmt.Sprint("m", m)] = map[string]string{}, 0
		}
		clients[i] = c
		all.Go(func() {
			for goesOn() {
				if err := c.step(); err != nil {
					t.Errorf("client %d: %v", i, err)
				}
				if c.counts["refused"] > 0 {
					refused.Store(true)
				}
			}
		})
	}
	var seen [2][]int
	for start := time.Now(); time.Now().Before(until) && !t.Failed(); time.Sleep(length / 60) {
		for i, s := range servers {
			seen[i] = append(seen[i], s.held(t))
		}
		if long != "" && len(seen[0])%6 == 1 {
			fmt.Printf("%5.0f s  %4d and %4d MiB\n", time.Since(start).Seconds(), seen[0][len(seen[0])-1]>>20, seen[1][len(seen[1])-1]>>20)
		}
	}
	all.Wait()
	counts := map[string]int{}
	for _, c := range clients {
		for what, n := range c.counts {
			counts[what] += n
		}
	}
	turns := checkStored(t, clients)
	spent := checkSpent(t, dir, clients)
	t.Logf("%v: %v; %d turns are there, each once; $%.4f spent; MiB held by the servers %v", length, counts, turns, spent, mebibytes(seen))
	wanted := []string{"added", "answered", "refused"}
	if long != "" {
		wanted = append(wanted, "searched", "forgotten")
	}
	for _, what := range wanted {
		if counts[what] == 0 {
			t.Errorf("nothing was %s", what)
		}
	}
	if long == "" {
		return // memory has not settled yet
	}
	for i, sizes := range seen {
		// Of what is held some belongs to the requests that are just being answered, so the middle of many samples says more than the most.
		third := len(sizes) / 3
		if early, late := median(sizes[third:2*third]), median(sizes[2*third:]); float64(late) > 1.05*float64(early) {
			t.Errorf("server %d held %d MiB in the second third of the time, %d in the last", i, early>>20, late>>20)
		}
	}
}

func median(sizes []int) int { return slices.Sorted(slices.Values(sizes))[len(sizes)/2] }

// mebibytes is the first, middle and last size of each.
func mebibytes(seen [2][]int) (out [2][3]int) {
	for i, s := range seen {
		out[i] = [3]int{s[0] >> 20, s[len(s)/2] >> 20, s[len(s)-1] >> 20}
	}
	return out
}

// checkStored reads all memories and compares them with what the clients know. It returns the number of turns.
func checkStored(t *testing.T, clients []*soaked) (n int) {
	t.Helper()
	for owner := range soakTenants {
		for m := range soakMemories {
			name := fmt.Sprint("m", m)
			want := map[string]string{}
			for i := owner; i < len(clients); i += soakTenants {
				for key, text := range clients[i].live[name] {
					want[key] = text
				}
			}
			for server := range clients[owner].addrs {
				got, cursor := map[string]string{}, ""
				for len(want) > 0 {
					var page memory.Page
					if _, err := clients[owner].do(server, "GET", "/"+name+"/turns?limit=1000"+cursor, nil, &page); err != nil {
						t.Fatal(err)
					}
					for _, turn := range page.Turns {
						key := turn.Session + "/" + turn.ID
						if _, twice := got[key]; twice || want[key] != turn.Text {
							t.Errorf("t%d/%s: %s is there twice, or wrong: %q, want %q", owner, name, key, turn.Text, want[key])
						}
						got[key] = turn.Text
					}
					if page.Next == "" {
						break
					}
					cursor = "&cursor=" + url.QueryEscape(page.Next)
				}
				if len(got) != len(want) {
					t.Errorf("t%d/%s at server %d: %d turns, want %d", owner, name, server, len(got), len(want))
				}
			}
			n += len(want)
		}
	}
	return n
}

// checkSpent compares the ledger with what the answers said that they cost, and returns the sum.
func checkSpent(t *testing.T, dir string, clients []*soaked) (sum float64) {
	t.Helper()
	ledger, err := tenant.OpenLedger(filepath.Join(dir, tenant.LedgerFile))
	if err != nil {
		t.Fatal(err)
	}
	defer ledger.Close()
	tenants, err := tenant.Load(filepath.Join(dir, "tenants.yaml"), ledger)
	if err != nil {
		t.Fatal(err)
	}
	for owner := range soakTenants {
		scope, _ := tenants.Scope(fmt.Sprint("token-", owner))
		s, err := scope.Account.Spending(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var booked, told float64
		for _, d := range s.Accounts[0].Days {
			booked += d.Dollars
		}
		for i := owner; i < len(clients); i += soakTenants {
			told += clients[i].dollars
		}
		if booked < told-1e-9 || owner == 0 && booked > 2*soakHour { // the hour may have changed meanwhile
			t.Errorf("t%d: $%v is booked, the answers said $%v", owner, booked, told)
		}
		sum += booked
	}
	return sum
}
