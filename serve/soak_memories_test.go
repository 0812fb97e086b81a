package serve

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
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
	"strconv"
	"strings"
	"sync"
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
	return s.Serve(ctx, ln)
}

// soaked is a client with what it knows to be in the memories.
type soaked struct {
	t       *testing.T
	id      int
	rng     *rand.Rand
	token   string
	addrs   []string
	http    *http.Client
	live    map[string]map[string]string // by memory and session/id, the text
	old     []string                     // memory and session, full, the oldest first
	session map[string]int               // by memory, the one being filled
	n       int
	counts  map[string]int
	dollars float64
}

// do sends a request to a server and decodes the answer.
func (c *soaked) do(server int, method, path string, body, out any) (status int, err error) {
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return 0, err
		}
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(c.t.Context(), method, "http://"+c.addrs[server]+"/v1/memories"+path, r)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	if resp.StatusCode != 200 {
		return resp.StatusCode, fmt.Errorf("%s %s: %d %s", method, path, resp.StatusCode, data)
	}
	return 200, json.Unmarshal(data, out)
}

// step makes one request, or two that belong together.
func (c *soaked) step() error {
	m := fmt.Sprint("m", c.rng.IntN(soakMemories))
	at := c.rng.IntN(len(c.addrs))
	switch k := c.rng.IntN(20); {
	case len(c.old) > 3: // so that what is kept does not grow
		where := c.old[0]
		c.old = c.old[1:]
		m, session, _ := strings.Cut(where, " ")
		var gone memory.DeleteResult
		if _, err := c.do(at, "DELETE", "/"+m+"/sessions/"+session, nil, &gone); err != nil {
			return err
		}
		for key := range c.live[m] {
			if strings.HasPrefix(key, session+"/") {
				delete(c.live[m], key)
				gone.Turns--
			}
		}
		if gone.Turns != 0 {
			return fmt.Errorf("forgetting session %s of %s: %d turns more than there were", session, m, gone.Turns)
		}
		c.counts["forgotten"]++
		return nil
	case k < 11:
		return c.add(at, m)
	case k < 13:
		var found memory.SearchResult
		_, err := c.do(at, "POST", "/"+m+"/search", map[string]any{"query": "What did client " + strconv.Itoa(c.id) + " say?"}, &found)
		c.counts["searched"]++
		return ignoreMissing(err)
	}
	var answer memory.AskResult
	question := map[string]any{"question": fmt.Sprintf("Where did client %d move in year %d?", c.id, c.rng.IntN(1000)), "budget": []string{"low", "mid", "high"}[c.rng.IntN(3)]}
	status, err := c.do(at, "POST", "/"+m+"/ask", question, &answer)
	switch {
	case status == http.StatusTooManyRequests && strings.Contains(err.Error(), `"budget"`):
		c.counts["refused"]++
		return nil
	case err == nil:
		c.counts["answered"]++
		c.dollars += answer.Dollars
	}
	return ignoreMissing(err)
}

// ignoreMissing passes over a memory of which nothing is left.
func ignoreMissing(err error) error {
	if err != nil && strings.Contains(err.Error(), ": 404 ") {
		return nil
	}
	return err
}

// add adds a turn, sometimes twice, and reads it from the other server.
func (c *soaked) add(at int, m string) error {
	c.n++
	session := fmt.Sprintf("c%d-%d", c.id, c.session[m])
	id, text := fmt.Sprintf("c%d-n%d", c.id, c.n), fmt.Sprintf("Client %d moved to town %d in year %d and told nobody.", c.id, c.n, c.rng.IntN(1000))
	body := map[string]any{"turns": []any{map[string]any{"id": id, "session": session, "speaker": fmt.Sprint("Client", c.id), "time": "3 May 2024", "text": text}}}
	var added memory.AddResult
	for i := range 1 + c.rng.IntN(4)/3 {
		if _, err := c.do((at+i)%len(c.addrs), "POST", "/"+m+"/turns", body, &added); err != nil {
			return err
		}
		if added.New+added.Skipped != 1 || i == 0 && added.New != 1 || i > 0 && added.New != 0 {
			return fmt.Errorf("adding %s, time %d: %+v", id, i, added)
		}
	}
	c.live[m][session+"/"+id] = text
	c.counts["added"]++
	var turn memory.Turn
	if _, err := c.do((at+1)%len(c.addrs), "GET", "/"+m+"/turns/"+id, nil, &turn); err != nil || turn.Text != text {
		return fmt.Errorf("%s at the other server: %+v, %w", id, turn, err)
	}
	if c.n%soakSession == 0 { // the sessions of all memories end
		for name := range c.session {
			if s := fmt.Sprintf("c%d-%d", c.id, c.session[name]); hasSession(c.live[name], s) {
				c.old = append(c.old, name+" "+s)
			}
			c.session[name]++
		}
	}
	return nil
}

func hasSession(live map[string]string, session string) bool {
	for key := range live {
		if strings.HasPrefix(key, session+"/") {
			return true
		}
	}
	return false
}

// residentOf is how many bytes a process has in memory.
func residentOf(t *testing.T, pid int) int {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0 // not Linux
	}
	_, rest, _ := strings.Cut(string(data), "VmRSS:")
	n, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return n << 10
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
	var servers []*exec.Cmd
	for range 2 {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), soakServerEnv+"="+dir+" "+model.URL())
		cmd.Stderr = t.Output()
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		addr, err := bufio.NewReader(out).ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		addrs, servers = append(addrs, strings.TrimSpace(addr)), append(servers, cmd)
	}
	clients := make([]*soaked, soakClients)
	until := time.Now().Add(length)
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
			for time.Now().Before(until) && !t.Failed() {
				if err := c.step(); err != nil {
					t.Errorf("client %d: %v", i, err)
				}
			}
		})
	}
	var seen [2][]int
	for start := time.Now(); time.Now().Before(until) && !t.Failed(); time.Sleep(length / 60) {
		for i, s := range servers {
			seen[i] = append(seen[i], residentOf(t, s.Process.Pid))
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
	t.Logf("%v: %v; %d turns are there, each once; $%.4f spent; MiB at the servers %v", length, counts, turns, spent, mebibytes(seen))
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
		part := len(sizes) * 3 / 5
		if early, late := maxOf(sizes[:part]), maxOf(sizes[part:]); float64(late) > 1.05*float64(early) {
			t.Errorf("server %d grew from %d to %d MiB in the last part", i, early>>20, late>>20)
		}
	}
}

func maxOf(sizes []int) (most int) {
	for _, s := range sizes {
		most = max(most, s)
	}
	return most
}

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
