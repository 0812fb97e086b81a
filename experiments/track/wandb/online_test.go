package wandb

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/budgetmem/budgetmem/experiments/track"
	"github.com/budgetmem/budgetmem/internal/testenv"
)

// cloud is as much of W&B's server as its client needs for one run without artifacts.
type cloud struct {
	*httptest.Server
	mu      sync.Mutex
	known   bool
	group   string
	history []string // lines of JSON
	summary string
	exit    any
	down    bool
	keys    map[string]bool
}

func (c *cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			panic(err)
		}
		body = z
	}
	var in struct {
		Operation string `json:"operationName"`
		Variables struct {
			GroupName string
			Files     json.RawMessage
		}
		Files map[string]struct {
			Offset  int
			Content []string
		}
		Complete *bool
		Exitcode any
	}
	_ = json.NewDecoder(body).Decode(&in) // uploads and telemetry are something else
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, key, ok := r.BasicAuth(); ok {
		c.keys[key] = true
	}
	if c.down {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	project := map[string]any{"id": "p1", "name": "p", "entity": map[string]any{"id": "e1", "name": "me"}}
	data := map[string]any{}
	switch in.Operation {
	case "Viewer":
		data["viewer"] = map[string]any{"id": "u1", "entity": "me", "username": "me", "flags": "{}", "teams": map[string]any{"edges": []any{}}}
	case "ServerFeaturesQuery":
		data["serverInfo"] = map[string]any{"features": []any{}}
	case "RunResumeStatus":
		model := map[string]any{"id": "p1", "name": "p", "entity": project["entity"], "bucket": nil}
		if c.known {
			tail, err := json.Marshal(c.history[max(0, len(c.history)-1):])
			if err != nil {
				panic(err)
			}
			model["bucket"] = map[string]any{"id": "b1", "name": "x", "summaryMetrics": c.summary, "displayName": "n", "logLineCount": 0,
				"historyLineCount": len(c.history), "eventsLineCount": 0, "historyTail": string(tail), "eventsTail": "[]", "config": "{}", "tags": []any{}, "wandbConfig": `{"t":1}`}
		}
		data["model"] = model
	case "UpsertBucket":
		data["upsertBucket"] = map[string]any{"inserted": !c.known, "bucket": map[string]any{"id": "b1", "name": "x", "displayName": "n", "config": "{}", "project": project, "historyLineCount": len(c.history)}}
		c.known = true
		if in.Variables.GroupName != "" {
			c.group = in.Variables.GroupName
		}
	case "CreateRunFiles":
		var names []string
		if err := json.Unmarshal(in.Variables.Files, &names); err != nil {
			panic(err)
		}
		var files []any
		for _, name := range names {
			files = append(files, map[string]any{"name": name, "uploadUrl": c.URL + "/upload/" + name})
		}
		data["createRunFiles"] = map[string]any{"runID": "b1", "uploadHeaders": []any{}, "files": files}
	}
	if h, ok := in.Files["wandb-history.jsonl"]; ok {
		c.history = append(c.history[:min(h.Offset, len(c.history))], h.Content...)
	}
	if s, ok := in.Files["wandb-summary.json"]; ok {
		c.summary = s.Content[len(s.Content)-1]
	}
	if in.Complete != nil && *in.Complete {
		c.exit = in.Exitcode
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(map[string]any{"data": data})
}

// The real client, online: a training that goes on goes on in the same run, from the step that the server lacks, and a server
// that turns the client away is told of once.
func TestOnline(t *testing.T) {
	python := testenv.Python(t, "track", "wandb", "trackers")
	const key = "0123456789abcdef0123456789abcdef01234567"
	c := &cloud{keys: map[string]bool{}}
	c.Server = httptest.NewServer(c)
	defer c.Close()
	t.Setenv(keyEnv, key)
	t.Setenv("WANDB_BASE_URL", c.URL)
	dir := t.TempDir()
	start := func(n int, status track.Status) (warnings []string) {
		t.Helper()
		sink, err := New(t.Context(), Options{Mode: Online, Project: "p", Python: python})
		if err != nil {
			t.Fatal(err)
		}
		trackers := track.New([]track.Sink{sink}, func(line string) { warnings = append(warnings, line) })
		r := trackers.Start(track.Run{Training: "tr", Name: "seed 1", Dir: dir, Config: map[string]any{"a": 1}})
		for i := range n {
			r.Record(map[string]float64{"losses/x": float64(i)})
		}
		r.End(track.Outcome{Status: status, Summary: map[string]float64{"test/value": 2}})
		trackers.Close()
		return warnings
	}
	check := func(n int) {
		t.Helper()
		c.mu.Lock()
		defer c.mu.Unlock()
		if len(c.history) != n {
			t.Fatalf("the server has %d steps, want %d: %q", len(c.history), n, c.history)
		}
		for i, line := range c.history {
			var v map[string]any
			if err := json.Unmarshal([]byte(line), &v); err != nil || v["_step"] != float64(i) || v["losses/x"] != float64(i) {
				t.Errorf("step %d: %s, %v", i, line, err)
			}
		}
	}
	c.down = true
	if w := start(3, track.Killed); len(w) != 1 || !strings.HasPrefix(w[0], "W&B online, project p: ") || strings.Contains(w[0], key) {
		t.Errorf("warned %q", w)
	}
	c.down = false
	if w := start(5, track.Killed); w != nil {
		t.Fatal(w)
	}
	check(5)
	if w := start(12, track.Finished); w != nil {
		t.Fatal(w)
	}
	check(12)
	if c.group != "tr" || !strings.Contains(c.summary, `"test/value":2`) || fmt.Sprint(c.exit) != "0" || !c.keys[key] || len(c.keys) != 1 {
		t.Errorf("group %q, summary %s, exit %v, keys %v", c.group, c.summary, c.exit, c.keys)
	}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if strings.Contains(string(data), key) {
			t.Errorf("%s holds the key", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
