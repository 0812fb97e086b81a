package serve

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/tiers/llm"
)

// soakEnv is how long hostile clients are let at the server, such as 10m; `make soak-hostile` sets it.
const soakEnv = "BUDGETMEM_SOAK"

// echo says a word back and remembers nothing.
type echo struct{}

func (echo) Model() string { return "fake" }
func (echo) ID() string    { return "fake:1" }

func (echo) Chat(context.Context, llm.Request) (llm.Response, error) {
	return llm.Response{Text: "ok", Finish: "stop", Usage: llm.Usage{Calls: 1, In: 1, Out: 1}}, nil
}

func (e echo) Stream(ctx context.Context, req llm.Request, emit func(string) error) (llm.Response, error) {
	for range 50 {
		if err := emit("ok "); err != nil {
			return llm.Response{}, err
		}
	}
	return e.Chat(ctx, req)
}

// hostileRequest is what a client sends, in bytes, and whether it reads the answer.
func hostileRequest(rng *rand.Rand) (text string, read bool) {
	post := func(path, body string) string {
		return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
	}
	chat := func(model, text, more string) string {
		return fmt.Sprintf(`{"model": %q, "messages": [{"role": "user", "content": %q}]%s}`, model, text, more)
	}
	junk := make([]byte, 1+rng.IntN(3000))
	for i := range junk {
		junk[i] = byte(rng.Uint32())
	}
	name := fmt.Sprintf("model-%d", rng.Uint64())
	switch rng.IntN(12) {
	case 0: // the beginning of a body, and then away
		return post("/v1/chat/completions", chat("fake", "hello", ""))[:120], false
	case 1:
		return post("/v1/chat/completions", string(junk)), true
	case 2:
		return string(junk), true
	case 3:
		return post("/v1/chat/completions", strings.Repeat("[", 1+rng.IntN(20_000))), true
	case 4:
		return "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n{", true
	case 5:
		return post("/v1/chat/completions", chat(name, "hello", "")), true
	case 6:
		return post("/v1/embeddings", fmt.Sprintf(`{"model": %q, "input": [%q, ""]}`, name, junk)), true
	case 7: // a stream that nobody reads
		return post("/v1/chat/completions", chat("fake", "hello", `, "stream": true`)), false
	case 8:
		return "GET /" + name + " HTTP/1.1\r\nHost: localhost\r\nX-" + name + ": " + strings.Repeat("a", rng.IntN(4000)) + "\r\nConnection: close\r\n\r\n", true
	case 9:
		return "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /health HTTP/1.1\r\n\r\n", true
	case 10:
		return post("/v1/chat/completions", chat("fake", string(junk), fmt.Sprintf(`, "max_tokens": %d, "temperature": 1e%d, "stop": [%q]`, rng.Int64()-rng.Int64(), rng.IntN(400), name))), true
	}
	return post("/v1/chat/completions", chat("fake", strings.Repeat("word ", rng.IntN(10_000)), "")), true
}

// held is what the server and the test hold: bytes of heap and stacks after a collection, goroutines, open files.
func held() (bytes, goroutines, files int) {
	runtime.GC()
	runtime.GC() // what finalizers freed
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		open = nil // not Linux
	}
	return int(m.HeapAlloc + m.StackInuse), runtime.NumGoroutine(), len(open)
}

// Hostile clients make the server neither grow nor stop to answer others.
func TestHostileTraffic(t *testing.T) {
	length := 4 * time.Second
	if text := os.Getenv(soakEnv); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil {
			t.Fatalf("%s: %v", soakEnv, err)
		}
	}
	s := start(t, Config{Chats: []ChatModel{echo{}}, MaxQueue: 64, MaxBody: 1 << 20})
	var sent, answered atomic.Int64
	// storm lets clients at the server for a time, and waits until they are gone.
	storm := func(length time.Duration, seed uint64) {
		until := time.Now().Add(length)
		var clients sync.WaitGroup
		for i := range 16 {
			rng := rand.New(rand.NewPCG(seed, uint64(i)))
			clients.Go(func() {
				for time.Now().Before(until) {
					c, err := net.Dial("tcp", s.addr)
					if err != nil {
						t.Error(err)
						return
					}
					_ = c.SetDeadline(time.Now().Add(300 * time.Millisecond))
					text, read := hostileRequest(rng)
					_, _ = io.WriteString(c, text) // the server may hang up in the midst
					sent.Add(1)
					if read {
						if n, _ := io.CopyN(io.Discard, c, 12); n == 12 {
							answered.Add(1)
						}
					}
					c.Close()
				}
			})
		}
		clients.Wait()
		http.DefaultClient.CloseIdleConnections()
		eventually(t, "an empty queue", func() bool { return s.depth() == 0 })
	}
	const parts = 8
	var bytes, goroutines, files [parts]int
	for i := range parts {
		storm(length/parts, uint64(i))
		if _, err := s.client("").CreateChatCompletion(t.Context(), say("hi")); err != nil {
			t.Errorf("after %d hostile requests: %v", sent.Load(), err)
		}
		http.DefaultClient.CloseIdleConnections()
		eventually(t, "connections closed", func() bool { _, goroutines[i], _ = held(); return i == 0 || goroutines[i] <= goroutines[0]+8 })
		bytes[i], goroutines[i], files[i] = held()
	}
	early, late := max(bytes[1], bytes[2], bytes[3]), min(bytes[parts-2], bytes[parts-1])
	t.Logf("%d hostile requests, %d answered, in %v; bytes held %v, goroutines %v, files %v", sent.Load(), answered.Load(), length, bytes, goroutines, files)
	if float64(late) > 1.05*float64(early) {
		t.Errorf("the server grew from %d to %d bytes", early, late)
	}
	if files[parts-1] > files[1]+8 {
		t.Errorf("open files %v", files)
	}
	if answered.Load() < sent.Load()/4 {
		t.Errorf("%d of %d requests got an answer", answered.Load(), sent.Load())
	}
}
