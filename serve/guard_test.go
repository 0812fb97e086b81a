package serve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	goopenai "github.com/sashabaranov/go-openai"

	"github.com/budgetmem/budgetmem/serve/api"
)

func TestQueueLimit(t *testing.T) {
	const limit = 4
	s := start(t, Config{MaxQueue: limit})
	var wg sync.WaitGroup
	for range limit {
		wg.Go(func() {
			if _, err := s.client("").CreateChatCompletion(t.Context(), say("wait")); err != nil {
				t.Error(err)
			}
		})
	}
	eventually(t, "a full queue", func() bool { return s.depth() == limit })
	status, header, body := s.post(t, "/v1/embeddings", `{"model": "fake-embedder", "input": "x"}`)
	if e := apiErrorOf(t, body); status != 429 || e.Type != "rate_limit_error" || header.Get("Retry-After") == "" {
		t.Errorf("%d %v %s", status, header, body)
	}
	if h, err := api.GetHealth(t.Context(), s.addr, ""); err != nil || h.Queue.Depth != limit || h.Queue.Refused != 1 {
		t.Errorf("health %+v, %v", h, err)
	}
	for range limit {
		s.model.let <- struct{}{}
	}
	wg.Wait()
	if _, err := s.client("").CreateChatCompletion(t.Context(), say("hi")); err != nil {
		t.Errorf("after the queue was full: %v", err)
	}
}

// A client that goes away takes its generation with it.
func TestClientGoes(t *testing.T) {
	s := start(t, Config{})
	for _, streaming := range []bool{false, true} {
		ctx, cancel := context.WithCancel(t.Context())
		failed := make(chan error, 1)
		go func() {
			if !streaming {
				_, err := s.client("").CreateChatCompletion(ctx, say("wait"))
				failed <- err
				return
			}
			stream, err := s.client("").CreateChatCompletionStream(ctx, say("wait for it"))
			for err == nil {
				_, err = stream.Recv()
			}
			failed <- err
		}()
		eventually(t, "the request", func() bool { return s.depth() == 1 })
		time.Sleep(20 * time.Millisecond)
		cancel()
		if err := <-failed; !errors.Is(err, context.Canceled) {
			t.Errorf("the client got %v", err)
		}
		select {
		case err := <-s.model.ended:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("the generation ended with %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("the generation goes on")
		}
		eventually(t, "an empty queue", func() bool { return s.depth() == 0 })
	}
}

// Stopping finishes what is in flight and takes nothing new.
func TestStop(t *testing.T) {
	s := start(t, Config{})
	got := make(chan string, 2)
	for _, streaming := range []bool{false, true} {
		go func() {
			status, _, body := s.post(t, "/v1/chat/completions", fmt.Sprintf(`{"model": "fake", "stream": %t, "messages": [{"role": "user", "content": "wait"}]}`, streaming))
			got <- fmt.Sprint(status, body)
		}()
	}
	eventually(t, "two requests", func() bool { return s.depth() == 2 })
	stopped := make(chan error, 1)
	go func() { stopped <- s.stop() }()
	eventually(t, "no more connections", func() bool {
		c, err := net.DialTimeout("tcp", s.addr, time.Second)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	s.model.let <- struct{}{}
	s.model.let <- struct{}{}
	for range 2 {
		if g := <-got; !strings.HasPrefix(g, "200") || !strings.Contains(g, "wait") || !strings.Contains(g, `"finish_reason":"stop"`) {
			t.Errorf("a request in flight got %s", g)
		}
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestGraceIsLimited(t *testing.T) {
	s := start(t, Config{Grace: 50 * time.Millisecond})
	go func() { _, _ = s.client("").CreateChatCompletion(context.Background(), say("wait")) }()
	eventually(t, "the request", func() bool { return s.depth() == 1 })
	s.fails = true
	if err := s.stop(); err == nil || !strings.Contains(err.Error(), "1 requests were not finished") {
		t.Errorf("stopping with a request that does not end: %v", err)
	}
	<-s.model.ended
}

func TestToken(t *testing.T) {
	const token = "correct-horse"
	s := start(t, Config{Token: token})
	if _, err := s.client(token).CreateChatCompletion(t.Context(), say("hi")); err != nil {
		t.Error(err)
	}
	for _, wrong := range []string{"", "wrong", token + "r"} {
		_, err := s.client(wrong).CreateChatCompletion(t.Context(), say("hi"))
		var api *goopenai.APIError
		if !errors.As(err, &api) || api.HTTPStatusCode != 401 || api.Code != "invalid_api_key" {
			t.Errorf("with the key %q: %v", wrong, err)
		}
	}
	if h, err := api.GetHealth(t.Context(), s.addr, ""); err != nil || h.Status != "ok" || h.Models != nil {
		t.Errorf("health without the token: %+v, %v", h, err)
	}
	if _, err := api.GetHealth(t.Context(), s.addr, "wrong"); err == nil {
		t.Error("health with a wrong token")
	}
	if h, err := api.GetHealth(t.Context(), s.addr, token); err != nil || len(h.Models) != 2 {
		t.Errorf("health with the token: %+v, %v", h, err)
	}
}

func TestWebPagesFromElsewhere(t *testing.T) {
	const body = `{"model": "fake", "messages": [{"role": "user", "content": "hi"}]}`
	for _, c := range []struct {
		header []string
		status int
	}{
		{nil, 200},
		{[]string{"Host", "localhost:8177"}, 200},
		{[]string{"Host", "[::1]:8177"}, 200},
		{[]string{"Host", "127.0.0.1"}, 200},
		{[]string{"Host", "evil.example:8177"}, 403},
		{[]string{"Host", "localhost.evil.example"}, 403},
		{[]string{"Host", "10.0.0.1:8177"}, 403},
		{[]string{"Origin", "https://evil.example"}, 403},
		{[]string{"Sec-Fetch-Site", "cross-site"}, 403},
		{[]string{"Sec-Fetch-Site", "same-origin"}, 200},
	} {
		s := start(t, Config{})
		status, _, answer := s.post(t, "/v1/chat/completions", body, c.header...)
		if status != c.status {
			t.Errorf("%v: %d %s, want %d", c.header, status, answer, c.status)
		}
	}
	// With a token the name does not matter: a page does not have it.
	s := start(t, Config{Token: "secret"})
	for _, scheme := range []string{"Bearer", "bearer"} {
		if status, _, answer := s.post(t, "/v1/chat/completions", body, "Host", "models.example", "Authorization", scheme+" secret"); status != 200 {
			t.Errorf("%s: %d %s", scheme, status, answer)
		}
	}
}

func TestListenNeedsATokenOffLoopback(t *testing.T) {
	for _, c := range []struct {
		addr, token string
		ok          bool
	}{
		{"127.0.0.1:0", "", true}, {"[::1]:0", "", true}, {"localhost:0", "", true}, {":0", "", false}, {"0.0.0.0:0", "", false},
		{"[::]:0", "", false}, {"0.0.0.0:0", "secret", true}, {"127.0.0.1", "", false}, {"127.0.0.1:http-or-so", "", false},
	} {
		ln, err := Listen(c.addr, c.token != "")
		if err == nil {
			ln.Close()
		}
		if (err == nil) != c.ok && !strings.Contains(c.addr, "::1") { // some machines have no IPv6
			t.Errorf("%s with the token %q: %v", c.addr, c.token, err)
		}
		if strings.HasSuffix(c.addr, ":0") && !c.ok && (err == nil || !strings.Contains(err.Error(), api.EnvToken)) {
			t.Errorf("%s: %v, want what to do", c.addr, err)
		}
	}
}
