package mlflow

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/experiments/track"
)

// server is an MLflow server in memory, with its limits, that fails as it is told. The real one is tested in cmd/bmem.
type server struct {
	*httptest.Server
	mu          sync.Mutex
	experiments map[string]string // id by name
	stage       string            // of experiments, "" for active
	runs        []*fakeRun
	files       map[string]string
	root        string // of artefacts
	auth        []string
	requests    []string
	// fault, if not nil, returns the status to fail a request with, 0 for none, and whether to do it before.
	fault func(n int, path string) (status int, done bool)
}

type fakeRun struct {
	id, status   string
	tags, params map[string]string
	metrics      map[string]map[int]float64
}

func newServer(t *testing.T) *server {
	s := &server{experiments: map[string]string{}, files: map[string]string{}, root: "mlflow-artifacts:/7"}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

// refuse is an error in MLflow's form.
type refuse struct {
	status     int
	code, text string
}

func (r refuse) Error() string { return r.code }

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	path := strings.TrimPrefix(r.URL.Path, "/api/2.0/")
	s.requests = append(s.requests, path)
	s.auth = append(s.auth, r.Header.Get("Authorization"))
	status, done := 0, false
	if s.fault != nil {
		status, done = s.fault(len(s.requests), path)
	}
	var reply any
	var err error
	if status == 0 || done {
		reply, err = s.serve(path, r)
	}
	if status != 0 {
		w.WriteHeader(status)
		fmt.Fprintf(w, "<html>no, %s", r.Header.Get("Authorization"))
		return
	}
	var no refuse
	if errors.As(err, &no) {
		w.WriteHeader(no.status)
		reply = map[string]string{"error_code": no.code, "message": no.text}
	} else if err != nil {
		panic(err)
	}
	json.NewEncoder(w).Encode(reply)
}

func (s *server) serve(path string, r *http.Request) (any, error) {
	if name, ok := strings.CutPrefix(path, "mlflow-artifacts/artifacts/"); ok {
		data, err := io.ReadAll(r.Body)
		s.files[name] = string(data)
		return struct{}{}, err
	}
	if path == "mlflow/experiments/get-by-name" {
		id, ok := s.experiments[r.URL.Query().Get("experiment_name")]
		if !ok {
			return nil, refuse{404, notThere, "no such experiment"}
		}
		return map[string]any{"experiment": map[string]string{"experiment_id": id, "lifecycle_stage": s.stage}}, nil
	}
	var in struct {
		batch
		Name          string
		ExperimentID  string   `json:"experiment_id"`
		ExperimentIDs []string `json:"experiment_ids"`
		Filter        string
		Status        string
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		return nil, err
	}
	if path == "mlflow/experiments/create" {
		if s.experiments[in.Name] != "" {
			return nil, refuse{400, alreadyThere, "there is one"}
		}
		s.experiments[in.Name] = "7"
		return map[string]string{"experiment_id": "7"}, nil
	}
	if path == "mlflow/runs/create" {
		run := &fakeRun{id: fmt.Sprint("r", len(s.runs)), status: "RUNNING", tags: map[string]string{}, params: map[string]string{}, metrics: map[string]map[int]float64{}}
		for _, tag := range in.Tags {
			run.tags[tag.Key] = tag.Value
		}
		s.runs = append(s.runs, run)
		return map[string]any{"run": s.show(run)}, nil
	}
	if path == "mlflow/runs/search" {
		var found []any
		for _, run := range s.runs {
			if in.Filter == fmt.Sprintf("tags.`%s` = '%s'", idTag, run.tags[idTag]) && slices.Contains(in.ExperimentIDs, "7") {
				found = append(found, s.show(run))
			}
		}
		return map[string]any{"runs": found}, nil
	}
	i := slices.IndexFunc(s.runs, func(run *fakeRun) bool { return run.id == in.RunID })
	if i < 0 {
		return nil, refuse{404, notThere, "no such run"}
	}
	switch run := s.runs[i]; path {
	case "mlflow/runs/update":
		run.status = in.Status
	case "mlflow/runs/log-batch":
		return struct{}{}, run.log(in.batch)
	default:
		return nil, refuse{404, "ENDPOINT_NOT_FOUND", path}
	}
	return struct{}{}, nil
}

// log does what the real one does, and is stricter: a metric may have one value at a step.
func (r *fakeRun) log(b batch) error {
	bad := func(text string) error { return refuse{400, "INVALID_PARAMETER_VALUE", text} }
	if len(b.Metrics) > 1000 || len(b.Params) > 100 || len(b.Tags) > 100 || len(b.Metrics)+len(b.Params)+len(b.Tags) > 1000 {
		return bad("too much at once")
	}
	for _, p := range b.Params {
		if was, ok := r.params[p.Key]; ok && was != p.Value || len(p.Key) > 250 || len(p.Value) > 500 {
			return bad("param " + p.Key)
		}
		r.params[p.Key] = p.Value
	}
	for _, m := range b.Metrics {
		if r.metrics[m.Key] == nil {
			r.metrics[m.Key] = map[int]float64{}
		}
		if _, twice := r.metrics[m.Key][m.Step]; twice || m.Timestamp < 1e12 || notInNames.MatchString(m.Key) {
			return bad("metric " + m.Key)
		}
		r.metrics[m.Key][m.Step] = m.Value
	}
	for _, tag := range b.Tags {
		r.tags[tag.Key] = tag.Value
	}
	return nil
}

func (s *server) show(r *fakeRun) any {
	var latest []metric
	for key, steps := range r.metrics {
		last := slices.Max(slices.Collect(maps.Keys(steps)))
		latest = append(latest, metric{key, steps[last], 1, last})
	}
	return map[string]any{"info": map[string]string{"run_id": r.id, "status": r.status, "artifact_uri": s.root + "/" + r.id + "/artifacts"}, "data": map[string]any{"metrics": latest}}
}

// show shows a run of n steps with two values each, which ends as given.
func show(t *testing.T, dir string, n int, o track.Outcome, options Options) (warnings []string) {
	t.Helper()
	sink, err := New(options)
	if err != nil {
		t.Fatal(err)
	}
	trackers := track.New([]track.Sink{sink}, func(line string) { warnings = append(warnings, line) })
	r := trackers.Start(track.Run{Training: "tr", Name: "seed 1", Dir: dir, Commit: "abc", Config: map[string]any{
		"a": map[string]any{"b": 1.5, "c": "text", "weird?": []any{"x"}}, "long": strings.Repeat("ä", 1000), "none": nil}})
	for i := range n {
		r.Record(map[string]float64{"losses/x": float64(i), "route/a?b": float64(2 * i)})
	}
	r.End(o)
	trackers.Close()
	return warnings
}

func (s *server) check(t *testing.T, n int, status string) *fakeRun {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.runs) != 1 {
		t.Fatalf("%d runs, want 1", len(s.runs))
	}
	run := s.runs[0]
	if run.status != status || len(run.metrics["losses/x"]) != n || len(run.metrics["route/a_b"]) != n {
		t.Errorf("status %s with %d steps, want %s with %d", run.status, len(run.metrics["losses/x"]), status, n)
	}
	for i, v := range run.metrics["losses/x"] {
		if v != float64(i) {
			t.Errorf("step %d is %v", i, v)
		}
	}
	return run
}

func done(t *testing.T) track.Outcome {
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("content"), 0o644); err != nil {
		t.Fatal(err)
	}
	return track.Outcome{Status: track.Finished, Summary: map[string]float64{"test/value": 3}, Notes: map[string]string{"sha256.best": "123"}, Files: map[string]string{"a b.bin": path}}
}

func TestShows(t *testing.T) {
	s, dir := newServer(t), t.TempDir()
	options := Options{URL: s.URL + "/", Experiment: "ours", Token: "tok"}
	if w := show(t, dir, 700, track.Outcome{Status: track.Killed}, options); w != nil {
		t.Error(w)
	}
	s.check(t, 700, "KILLED")
	if w := show(t, dir, 1700, done(t), options); w != nil {
		t.Error(w)
	}
	run := s.check(t, 1700, "FINISHED")
	for name, want := range map[string]string{"a.b": "1.5", "a.c": "text", "a.weird_": `["x"]`, "long": strings.Repeat("ä", 249), "none": "null"} {
		if run.params[name] != want {
			t.Errorf("param %s is %q, want %q", name, run.params[name], want)
		}
	}
	for name, want := range map[string]string{"budgetmem.training": "tr", "budgetmem.sha256.best": "123", "mlflow.source.git.commit": "abc", "mlflow.source.name": "bmem train"} {
		if run.tags[name] != want {
			t.Errorf("tag %s is %q, want %q", name, run.tags[name], want)
		}
	}
	if got := run.metrics["test/value"]; len(got) != 1 || got[1699] != 3 {
		t.Errorf("summary %v", got)
	}
	if want := map[string]string{"7/r0/artifacts/a b.bin": "content"}; !maps.Equal(s.files, want) {
		t.Errorf("files %v, want %v", s.files, want)
	}
	for _, a := range s.auth {
		if a != "Bearer tok" {
			t.Errorf("authorization %q", a)
		}
	}
	before := len(s.requests)
	if w := show(t, dir, 1700, done(t), options); w != nil || len(s.requests) != before {
		t.Errorf("all was there, and %d requests were made; %q", len(s.requests)-before, w)
	}
}

// Whichever request fails, done or not, the next try or the next start brings what is missing, once.
func TestAnyRequestFails(t *testing.T) {
	for _, applied := range []bool{false, true} {
		for n := 1; ; n++ {
			s, dir := newServer(t), t.TempDir()
			s.fault = func(i int, _ string) (int, bool) {
				if i == n {
					return http.StatusBadRequest, applied // permanent: the next start has to do it
				}
				return 0, false
			}
			options := Options{URL: s.URL, Experiment: "ours"}
			w := show(t, dir, 20, done(t), options)
			failed := len(s.requests) >= n
			if failed && (len(w) != 1 || !strings.Contains(w[0], "status 400")) {
				t.Errorf("request %d fails: warned %q", n, w)
			}
			s.fault = nil
			if w := show(t, dir, 20, done(t), options); w != nil {
				t.Errorf("request %d fails, applied %t: then %q", n, applied, w)
			}
			s.check(t, 20, "FINISHED")
			if !failed {
				if n < 8 {
					t.Errorf("there were only %d requests", n)
				}
				break
			}
		}
	}
}

// A server that is away for a while gets all when it is back, in the same start.
func TestServerComesBack(t *testing.T) {
	s, dir := newServer(t), t.TempDir()
	s.fault = func(i int, _ string) (int, bool) {
		if i == 4 || i == 6 {
			return http.StatusServiceUnavailable, false
		}
		return 0, false
	}
	w := show(t, dir, 20, done(t), Options{URL: s.URL, Experiment: "ours", Username: "me", Password: "pass"})
	if len(w) != 2 || !strings.Contains(w[0], "503") || !strings.Contains(w[1], "back again") {
		t.Errorf("warned %q", w)
	}
	s.check(t, 20, "FINISHED")
	if s.auth[0] != "Basic bWU6cGFzcw==" {
		t.Errorf("authorization %q", s.auth[0])
	}
}

func TestRefusals(t *testing.T) {
	s := newServer(t)
	options := Options{URL: s.URL, Experiment: "ours", Token: "very-secret"}
	for want, fault := range map[string]int{"status 401": 401, "status 403": 403} {
		s.fault = func(int, string) (int, bool) { return fault, false }
		if w := show(t, t.TempDir(), 3, done(t), options); len(w) != 1 || !strings.Contains(w[0], want) || strings.Contains(w[0], "very-secret") {
			t.Errorf("%s: warned %q", want, w)
		}
	}
	s.fault, s.experiments["ours"], s.stage = nil, "7", "deleted"
	if w := show(t, t.TempDir(), 3, done(t), options); len(w) != 1 || !strings.Contains(w[0], "was deleted") {
		t.Errorf("warned %q", w)
	}
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>hello") }))
	defer other.Close()
	if w := show(t, t.TempDir(), 3, done(t), Options{URL: other.URL, Experiment: "ours"}); len(w) != 1 || !strings.Contains(w[0], "not MLflow's") {
		t.Errorf("warned %q", w)
	}
}

// Where the server does not take files, the run says so.
func TestFilesElsewhere(t *testing.T) {
	s, dir := newServer(t), t.TempDir()
	s.root = "s3://bucket/7"
	if w := show(t, dir, 3, done(t), Options{URL: s.URL, Experiment: "ours"}); w != nil {
		t.Error(w)
	}
	if run := s.check(t, 3, "FINISHED"); !strings.Contains(run.tags["budgetmem.files"], "s3://bucket/7/r0/artifacts") || len(s.files) > 0 {
		t.Errorf("tags %v, files %v", run.tags, s.files)
	}
}

// Steps with more values than a request may hold are sent in several.
func TestManyValues(t *testing.T) {
	s := newServer(t)
	sink, err := New(Options{URL: s.URL, Experiment: "ours"})
	if err != nil {
		t.Fatal(err)
	}
	session, _, err := sink.Open(t.Context(), track.Run{ID: "x"})
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for i := range 2500 {
		values[fmt.Sprint("v", i)] = 1
	}
	notes := map[string]string{}
	for i := range 250 {
		notes[fmt.Sprint("n", i)] = "1"
	}
	if err := session.Log(t.Context(), []track.Step{{Step: 0, Time: time.Now(), Values: values}, {Step: 1, Time: time.Now(), Values: values}}); err != nil {
		t.Error(err)
	}
	for i := range 2500 {
		values[fmt.Sprint("w", i)] = 1
	}
	maps.DeleteFunc(values, func(name string, _ float64) bool { return name[0] == 'v' })
	if err := session.End(t.Context(), track.Outcome{Status: track.Finished, Summary: values, Notes: notes}); err != nil {
		t.Error(err)
	}
	if run := s.runs[0]; len(run.metrics) != 5000 || len(run.metrics["v7"]) != 2 || run.status != "FINISHED" || run.tags["budgetmem.n249"] != "1" {
		t.Errorf("%d metrics, status %s", len(run.metrics), run.status)
	}
}
