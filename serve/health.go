package serve

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/budgetmem/budgetmem/tiers/llm/local"
)

// Health is what /health answers.
type Health struct {
	Status  string  `json:"status"` // "ok"
	Seconds float64 `json:"uptime_seconds"`
	Backend string  `json:"backend,omitempty"` // what computes, such as "xla:cpu"
	Models  []Model `json:"models,omitempty"`
	Queue   Queue   `json:"queue"`
	Memory  Memory  `json:"memory"`
}

// Model is a model that is served.
type Model struct {
	Name string `json:"name"`
	Kind string `json:"kind"` // "chat" or "embedding"
	ID   string `json:"id"`   // names the weights
	// Dim is the width of an embedder's vectors.
	Dim int `json:"dim,omitempty"`
	// Of a local language model: how many tokens prompt and reply may have together, what was computed, and the programs
	// compiled for it.
	Context  int          `json:"context,omitempty"`
	Computed *local.Stats `json:"computed,omitempty"`
}

// Queue counts requests.
type Queue struct {
	Depth   int64 `json:"depth"` // in work or waiting, of at most Limit
	Limit   int   `json:"limit"`
	Served  int64 `json:"served"`
	Refused int64 `json:"refused"` // because the queue was full
}

// Memory is in bytes; a number is 0 where the system does not tell.
type Memory struct {
	Resident uint64 `json:"resident"`
	Peak     uint64 `json:"peak"` // the most that was resident
	GoHeap   uint64 `json:"go_heap"`
}

func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	h := Health{
		Status: "ok", Backend: s.config.Backend, Seconds: time.Since(s.started).Seconds(), Memory: memory(),
		Queue: Queue{Depth: s.depth.Load(), Limit: s.config.MaxQueue, Served: s.served.Load(), Refused: s.refused.Load()},
	}
	chats := s.config.Chats
	if s.shelf != nil {
		chats = append(slices.Clone(chats), s.shelf.models()...)
	}
	for _, c := range chats {
		m := describe(c)
		if l, ok := c.(interface{ Stats() local.Stats }); ok {
			stats := l.Stats()
			m.Computed = &stats
		}
		h.Models = append(h.Models, m)
	}
	if e := s.config.Embedder; e != nil {
		h.Models = append(h.Models, e.describe())
	}
	s.answer(w, http.StatusOK, h)
}

// describe says what a language model is.
func describe(c ChatModel) Model {
	m := Model{Name: c.Model(), Kind: "chat", ID: c.ID()}
	if l, ok := c.(interface{ Context() int }); ok {
		m.Context = l.Context()
	}
	return m
}

func (e *Embedder) describe() Model {
	return Model{Name: e.Name, Kind: "embedding", ID: e.ID(), Dim: e.Dim()}
}

// Look asks the server on addr (host:port) for its health; token may be "".
func Look(ctx context.Context, addr, token string) (Health, error) {
	var h Health
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/health", nil)
	if err != nil {
		return h, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return h, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return h, fmt.Errorf("%s answers %s", req.URL, resp.Status)
	}
	if err := json.NewDecoder(resp.Body).Decode(&h); err != nil || h.Status == "" {
		return h, fmt.Errorf("%s is no server of this kind", req.URL)
	}
	return h, nil
}

// memory looks at this process.
func memory() Memory {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	m := Memory{GoHeap: stats.HeapInuse}
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return m // no Linux
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, rest, _ := strings.Cut(lines.Text(), ":")
		kib, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
		if err != nil {
			continue
		}
		switch name {
		case "VmRSS":
			m.Resident = kib << 10
		case "VmHWM":
			m.Peak = kib << 10
		}
	}
	return m
}

// listed is a model in the form of OpenAI's API.
type listed struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"` // when the server started
	OwnedBy string `json:"owned_by"`
}

func (s *Server) listed(name string) listed {
	return listed{name, "model", s.started.Unix(), "budgetmem"}
}

// available are the names of all that may be asked for.
func (s *Server) available(ctx context.Context) []string {
	names := s.names
	if s.shelf != nil {
		for _, name := range s.shelf.source.Names(ctx) {
			if !slices.Contains(names, name) {
				names = append(slices.Clip(names), name)
			}
		}
	}
	return names
}

func (s *Server) listModels(w http.ResponseWriter, r *http.Request) {
	data := []listed{}
	for _, name := range s.available(r.Context()) {
		data = append(data, s.listed(name))
	}
	s.answer(w, http.StatusOK, map[string]any{"object": "list", "data": data})
}

func (s *Server) oneModel(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	if names := s.available(r.Context()); !slices.Contains(names, name) {
		s.fail(w, unknownModel(name, names))
		return
	}
	s.answer(w, http.StatusOK, s.listed(name))
}
