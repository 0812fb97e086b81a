package postgres_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/bmem"
	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/bmem/chunk/chunktest"
	"github.com/budgetmem/budgetmem/bmem/embed/embedtest"
	"github.com/budgetmem/budgetmem/bmem/store"
	"github.com/budgetmem/budgetmem/bmem/store/postgres"
	"github.com/budgetmem/budgetmem/internal/pgtest"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

var cutter = store.Cutter{Count: chunktest.Count, MaxTokens: chunktest.MaxTokens}

func openStore(t testing.TB, address string) *store.Store {
	t.Helper()
	s, err := postgres.Open(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func turn(id, text string) chunk.Turn {
	return chunk.Turn{ID: id, Session: "s", Speaker: "Ann", Text: text}
}

// TestOpenMemoriesSeeEachOther has a memory that has been asked already find at once what another process adds.
func TestOpenMemoriesSeeEachOther(t *testing.T) {
	const env = "BMEM_POSTGRES_TEST_CHILD"
	openMemory := func(address string) *bmem.Memory {
		words := &embedtest.Words{}
		m, err := bmem.Open(t.Context(), bmem.Options{Store: openStore(t, address), Embedder: words, Tokenizer: words, Client: &llmtest.Client{}})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	find := func(m *bmem.Memory, query, want string) {
		t.Helper()
		hits, err := m.Search(t.Context(), query, bmem.WithMemory("m"))
		if err != nil || !slices.ContainsFunc(hits, func(h bmem.SearchHit) bool { return h.ID == want }) {
			t.Errorf("%q finds %v, not %s (%v)", query, hits, want, err)
		}
	}
	if address := os.Getenv(env); address != "" { // adds what it reads line by line, and finds what the parent added
		m := openMemory(address)
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			find(m, "sailing", "parent"+in.Text())
			if _, err := m.Add(t.Context(), "m", []chunk.Turn{turn("child"+in.Text(), "Pottery is what I do on day "+in.Text())}); err != nil {
				t.Fatal(err)
			}
			fmt.Println("added")
		}
		return
	}
	address := pgtest.Shared(t).URL(pgtest.Schema())
	m := openMemory(address)
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestOpenMemoriesSeeEachOther$")
	child.Env = append(os.Environ(), env+"="+address)
	child.Stderr = os.Stderr
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	for i := range 5 {
		if _, err := m.Add(t.Context(), "m", []chunk.Turn{turn(fmt.Sprint("parent", i), fmt.Sprint("Sailing is what I do on day ", i))}); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(in, i)
		if line, err := lines.ReadString('\n'); err != nil || line != "added\n" {
			t.Fatalf("the child says %q (%v)", line, err)
		}
		find(m, "pottery", fmt.Sprint("child", i))
	}
	in.Close()
	if err := child.Wait(); err != nil {
		t.Error(err)
	}
}

// TestServerKilled kills the server again and again while turns are added. What was acknowledged is there, once, and the stores go on
// as soon as the server is back.
func TestServerKilled(t *testing.T) {
	const goroutines, kills = 4, 3
	server := pgtest.Own(t)
	address := server.URL("killed")
	stores := []*store.Store{openStore(t, address), openStore(t, address)}
	e := &embedtest.Words{}
	var acknowledged sync.Map
	var added, failed atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			for i := 0; ; i++ {
				id := fmt.Sprintf("%d:%d", g, i)
				for try := 0; ; try++ { // with its id, a turn can be added again where it is not known whether it was
					select {
					case <-stop:
						return
					default:
					}
					s := stores[g%len(stores)]
					_, err := s.Append(t.Context(), "m", []chunk.Turn{turn(id, "what was said in "+id)}, cutter, store.AddOptions{})
					if err == nil {
						acknowledged.Store(id, true)
						added.Add(1)
						break
					}
					failed.Add(1)
					time.Sleep(20 * time.Millisecond)
				}
			}
		})
	}
	progress := func() {
		t.Helper()
		before := added.Load()
		for deadline := time.Now().Add(30 * time.Second); added.Load() < before+20; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("only %d turns were added after the server was back", added.Load()-before)
			}
		}
	}
	for range kills {
		progress()
		server.Kill()
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
	}
	progress()
	close(stop)
	wg.Wait()
	s := openStore(t, address)
	m, err := s.Memory(t.Context(), "m")
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]int{}
	for _, turn := range m.Turns {
		there[turn.ID]++
	}
	acknowledged.Range(func(id, _ any) bool {
		if there[id.(string)] != 1 {
			t.Errorf("turn %s, which was acknowledged, is there %d times", id, there[id.(string)])
		}
		return true
	})
	if want, err := chunk.Split(t.Context(), m.Turns, cutter.Count, cutter.MaxTokens); err != nil || !reflect.DeepEqual(m.Chunks, want) {
		t.Errorf("the chunks are not those of the turns (%v)", err)
	}
	if _, err := s.ReadIndex(t.Context(), "m", e, true, -1, nil); err != nil {
		t.Error(err)
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
	t.Logf("%d turns acknowledged, %d there, %d calls failed", added.Load(), len(m.Turns), failed.Load())
}

// A server that is away for a while is waited for, by reads and changes; a context ends the waiting.
func TestOutageIsWaitedFor(t *testing.T) {
	server := pgtest.Own(t)
	s := openStore(t, server.URL("outage"))
	add := func(ctx context.Context, id string) error {
		_, err := s.Append(ctx, "m", []chunk.Turn{turn(id, "what was said in "+id)}, cutter, store.AddOptions{})
		return err
	}
	if err := add(t.Context(), "before"); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	begun := time.Now()
	if err := add(ctx, "never"); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) > time.Second+300*time.Millisecond {
		t.Errorf("%v after %s", err, time.Since(begun))
	}
	done := make(chan error, 2)
	go func() { done <- add(t.Context(), "during") }()
	go func() {
		_, err := s.Memory(t.Context(), "m")
		done <- err
	}()
	select {
	case err := <-done:
		t.Errorf("ended without a server: %v", err)
	case <-time.After(time.Second):
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if m, err := s.Memory(t.Context(), "m"); err != nil || len(m.Turns) != 2 {
		t.Errorf("%d turns, %v", len(m.Turns), err)
	}
}

// A change whose connection breaks before it was stored is made again, once.
func TestBrokenConnectionIsReplaced(t *testing.T) {
	server, schema := pgtest.Shared(t), pgtest.Schema()
	s := openStore(t, server.URL(schema)+"&application_name="+schema)
	breaks := 2
	breaking := cutter
	breaking.Count = func(text string) int {
		if breaks > 0 && strings.Contains(text, "break") {
			breaks--
			if err := server.Exec(context.Background(), "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = '"+schema+"'"); err != nil {
				t.Error(err)
			}
		}
		return cutter.Count(text)
	}
	for _, text := range []string{"first", "break", "last"} {
		if _, err := s.Append(t.Context(), "m", []chunk.Turn{{Session: "s", Text: text}}, breaking, store.AddOptions{}); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
	if m, err := s.Memory(t.Context(), "m"); err != nil || len(m.Turns) != 3 || breaks != 0 {
		t.Errorf("%d turns, %d breaks left (%v)", len(m.Turns), breaks, err)
	}
	if err := server.Exec(t.Context(), "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = '"+schema+"'"); err != nil {
		t.Error(err)
	}
	if m, err := s.Memory(t.Context(), "m"); err != nil || len(m.Turns) != 3 {
		t.Errorf("read with %v", err)
	}
}

// Whichever table the server refuses to write, nothing of the change is stored.
func TestRefusedRowsLeaveNothing(t *testing.T) {
	server, schema := pgtest.Shared(t), pgtest.Schema()
	s, e := openStore(t, server.URL(schema)), &embedtest.Words{}
	exec := func(statement string) {
		t.Helper()
		if err := server.Exec(t.Context(), "SET search_path = "+schema, statement); err != nil {
			t.Fatal(err)
		}
	}
	exec("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused'; END $$")
	var turns []chunk.Turn
	for i := range 12 {
		turns = append(turns, turn(fmt.Sprint(i), fmt.Sprintf("There are many words in this turn, number %d of all.", i)))
	}
	add := func() error {
		_, err := s.Append(t.Context(), "m", turns, cutter, store.AddOptions{})
		return err
	}
	forget := func() error {
		_, err := s.Forget(t.Context(), store.Selection{Memory: "m", All: true})
		return err
	}
	index := func() error {
		_, err := s.ReadIndex(t.Context(), "m", e, true, -1, nil)
		return err
	}
	look := func() (state []store.Memory) {
		names, err := s.Memories(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			m, err := s.Memory(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			state = append(state, m)
		}
		return state
	}
	for _, change := range []struct {
		name   string
		do     func() error
		tables []string
	}{
		{"add", add, []string{"memory", "turn", "session", "chunk"}},
		{"embed", index, []string{"embedder", "vector", "embedded", "text", "progress"}},
		{"forget", forget, []string{"memory", "turn", "session", "chunk", "embedded", "text", "progress", "forgotten"}},
	} {
		before := look()
		for _, table := range change.tables {
			exec("CREATE TRIGGER refuse BEFORE INSERT OR UPDATE OR DELETE ON " + table + " FOR EACH ROW EXECUTE FUNCTION refuse()")
			if err := change.do(); err == nil || !strings.Contains(err.Error(), "refused") {
				t.Errorf("%s without %s: %v", change.name, table, err)
			}
			exec("DROP TRIGGER refuse ON " + table)
			if now := look(); !reflect.DeepEqual(now, before) {
				t.Errorf("%s without %s left %+v, before it was %+v", change.name, table, now, before)
			}
			if err := s.Check(t.Context()); err != nil {
				t.Errorf("%s without %s: %v", change.name, table, err)
			}
		}
		if err := change.do(); err != nil {
			t.Errorf("%s: %v", change.name, err)
		}
	}
}

// Several processes that open a new store at once make its tables once.
func TestMadeOnce(t *testing.T) {
	address := pgtest.Shared(t).URL(pgtest.Schema())
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() { openStore(t, address) })
	}
	wg.Wait()
}
