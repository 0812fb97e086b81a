package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

// Health is the answer of GET /health. A request without the token of a server that requires one gets the status alone.
type Health struct {
	Status  string  `json:"status"` // "ok"
	Seconds float64 `json:"uptime_seconds"`
	Backend string  `json:"backend,omitempty"` // what computes, such as "xla:cpu"
	Models  []Model `json:"models,omitempty"`
	Queue   Queue   `json:"queue"`
	Memory  Memory  `json:"memory"`
}

// Queue counts requests.
type Queue struct {
	Depth   int64 `json:"depth"` // running or waiting, at most Limit
	Limit   int   `json:"limit"`
	Served  int64 `json:"served"`
	Refused int64 `json:"refused"` // because the queue was full
}

// Memory is in bytes. A number is 0 where the system does not report it.
type Memory struct {
	Resident uint64 `json:"resident"`
	Peak     uint64 `json:"peak"` // the highest Resident so far
	GoHeap   uint64 `json:"go_heap"`
}

// maxHealth is the most bytes that GetHealth reads.
const maxHealth = 1 << 20

// GetHealth asks the server on addr (host:port) for its health; token may be "". It fails if nothing answers, if the
// server refuses the token, and if what answers is not `bmem serve`.
func GetHealth(ctx context.Context, addr, token string) (Health, error) {
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
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxHealth)).Decode(&h); err != nil || h.Status == "" {
		return h, fmt.Errorf("%s is not bmem serve", req.URL)
	}
	return h, nil
}
