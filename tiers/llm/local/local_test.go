package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/internal/backend"
	"github.com/budgetmem/budgetmem/internal/models/modelstest"
	"github.com/budgetmem/budgetmem/internal/testenv"
	"github.com/budgetmem/budgetmem/tiers/llm"
)

// The models under test, by their names in the catalogue.
const (
	smol = "smollm2-135m-instruct"
	qwen = "qwen2.5-coder-0.5b-instruct"
)

// The tests share one backend and one instance of each model, since loading and compiling take most of the time.
var shared struct {
	sync.Mutex
	be     *backend.Backend
	models map[string]*Model
}

func TestMain(m *testing.M) {
	code := m.Run()
	for _, model := range shared.models {
		model.Close()
	}
	if shared.be != nil {
		shared.be.Finalize()
	}
	os.Exit(code)
}

func openTest(t testing.TB, name string) *Model {
	t.Helper()
	path := modelstest.Path(t, name)
	shared.Lock()
	defer shared.Unlock()
	if m := shared.models[name]; m != nil {
		return m
	}
	if shared.be == nil {
		be, err := backend.Open("", nil)
		if err != nil {
			t.Fatal(err)
		}
		shared.be, shared.models = be, map[string]*Model{}
	}
	if shared.be.Kind == backend.Go {
		testenv.Slow(t, "computes a model in pure Go")
	}
	m, err := Open(path, shared.be, Options{Name: name, Context: 2048})
	if err != nil {
		t.Fatal(err)
	}
	shared.models[name] = m
	return m
}

// ask is a chat of one user turn.
func ask(text string) []llm.Message { return []llm.Message{{Role: llm.User, Content: text}} }

func TestChat(t *testing.T) {
	for _, name := range []string{smol, qwen} {
		t.Run(name, func(t *testing.T) {
			m := openTest(t, name)
			req := llm.Request{Messages: ask("What is the capital of France? Answer in one sentence."), MaxTokens: 32}
			r, err := m.Chat(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			if r.Text != "The capital of France is Paris." || r.Finish != "stop" {
				t.Errorf("got %q (%s)", r.Text, r.Finish)
			}
			n, err := m.CountTokens(req.Messages)
			if err != nil || n != r.Usage.In || r.Usage.Out != 7 || r.Usage.Calls != 1 || r.Usage.MS <= 0 {
				t.Errorf("usage %+v, CountTokens %d, %v", r.Usage, n, err)
			}
			req.MaxTokens = 3
			r, err = m.Chat(t.Context(), req)
			if err != nil || r.Text != "The capital of" || r.Finish != "length" || r.Usage.Out != 3 {
				t.Errorf("with MaxTokens 3: %+v, %v", r, err)
			}
			req.MaxTokens, req.Stop = 32, []string{" is", "Paris"}
			r, err = m.Chat(t.Context(), req)
			if err != nil || r.Text != "The capital of France" || r.Finish != "stop" {
				t.Errorf("with stop strings: %+v, %v", r, err)
			}
		})
	}
}

func TestSamplingIsSeeded(t *testing.T) {
	m := openTest(t, smol)
	reply := func(seed int64) string {
		r, err := m.Chat(t.Context(), llm.Request{Messages: ask("Tell me a story about a pear."), MaxTokens: 24, Temperature: 1, Seed: seed})
		if err != nil {
			t.Fatal(err)
		}
		return r.Text
	}
	first := reply(1)
	if again := reply(1); again != first {
		t.Errorf("one seed, two replies:\n%s\n%s", first, again)
	}
	if other := reply(2); other == first {
		t.Errorf("two seeds, one reply: %s", other)
	}
}

func TestContextOverflow(t *testing.T) {
	m := openTest(t, smol)
	long := ask(fmt.Sprint(make([]int, 3000)))
	var overflow *ContextError
	if _, err := m.Chat(t.Context(), llm.Request{Messages: long}); !errors.As(err, &overflow) || overflow.Context != 2048 || overflow.Prompt < 3000 {
		t.Errorf("Chat: %v", err)
	}
	if _, _, err := m.Score(t.Context(), []llm.ScoreRequest{{Messages: long, Continuation: "x"}}); !errors.As(err, &overflow) {
		t.Errorf("Score: %v", err)
	}
}

func TestCancelFreesTheSlot(t *testing.T) {
	m := openTest(t, smol)
	ctx, cancel := context.WithCancel(t.Context())
	errs := make(chan error)
	for i := range 20 { // more than fit in a batch
		go func() {
			_, err := m.Chat(ctx, llm.Request{Messages: ask(fmt.Sprintf("Count from %d to a million.", i)), MaxTokens: 1500})
			errs <- err
		}()
	}
	for before := m.Stats().Decoded; m.Stats().Decoded == before; {
		time.Sleep(10 * time.Millisecond)
	}
	cancel()
	for range 20 {
		if err := <-errs; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want context.Canceled", err)
		}
	}
	if r, err := m.Chat(t.Context(), llm.Request{Messages: ask("Say yes."), MaxTokens: 4}); err != nil || r.Usage.Out == 0 {
		t.Errorf("after cancelling: %+v, %v", r, err)
	}
}

func TestOpenRejectsOtherFiles(t *testing.T) {
	whole, err := os.ReadFile(modelstest.Path(t, smol))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"empty": nil, "text": []byte("not a model"), "header only": whole[:1000], "weights cut": whole[:len(whole)/2]} {
		t.Run(name, func(t *testing.T) {
			be, err := backend.Open("go", nil)
			if err != nil {
				t.Fatal(err)
			}
			defer be.Finalize()
			path := filepath.Join(t.TempDir(), "m.gguf")
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			if m, err := Open(path, be, Options{}); err == nil {
				m.Close()
				t.Error("opened")
			} else if !strings.Contains(err.Error(), path) {
				t.Errorf("error does not name the file: %v", err)
			} else {
				t.Log(err)
			}
		})
	}
}

func TestMemoryNeeded(t *testing.T) {
	n, err := MemoryNeeded(modelstest.Path(t, "smollm2-135m-instruct"))
	if err != nil || n < 1400<<20 || n > 1800<<20 { // 135 million weights of 4 bytes, and the caches
		t.Errorf("%d bytes, %v", n, err)
	}
	if _, err := MemoryNeeded("nowhere.gguf"); err == nil || !strings.Contains(err.Error(), "nowhere.gguf") {
		t.Errorf("no file: %v", err)
	}
}
