package serve

import (
	"bufio"
	"context"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/budgetmem/budgetmem/serve/api"
)

func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	h := api.Health{Status: "ok", Backend: s.config.Backend, Seconds: time.Since(s.started).Seconds(), Memory: memoryUse(), Queue: s.Queue()}
	chats := s.config.Chats
	if s.cache != nil {
		chats = append(slices.Clone(chats), s.cache.models()...)
	}
	for _, c := range chats {
		m := describe(c)
		m.Computed = computed(c)
		h.Models = append(h.Models, m)
	}
	if e := s.config.Embedder; e != nil {
		h.Models = append(h.Models, e.describe())
	}
	s.answer(w, http.StatusOK, h)
}

// memoryUse measures this process.
func memoryUse() api.Memory {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	m := api.Memory{GoHeap: stats.HeapInuse}
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return m // not Linux
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

// available lists the names of all models that a request may name.
func (s *Server) available(ctx context.Context) []string {
	names := s.names
	if s.cache != nil {
		for _, name := range s.cache.source.Names(ctx) {
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
