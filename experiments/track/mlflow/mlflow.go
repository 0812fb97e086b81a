// Package mlflow shows trainings in an MLflow server through its REST API 2.0.
//
// A run has its ID in a tag and is found by it, so that a resumed training, even one killed in the middle of a request, continues
// the same run. The server says which steps it has.
package mlflow

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/budgetmem/budgetmem/experiments/track"
)

// Options names a server.
type Options struct {
	// URL is the server's address, such as http://127.0.0.1:5000.
	URL string
	// Experiment is the experiment for the runs; it is created if it does not exist.
	Experiment string
	// Token, or else Username and Password, are the credentials, "" for none.
	Token, Username, Password string
}

// Sink is a track.Sink.
type Sink struct {
	url, experiment           string
	token, username, password string
	http                      *http.Client
}

// timeout bounds a request.
const timeout = 20 * time.Second

// New checks the options. It does not contact the server. An address that is no plain http or https URL, and no experiment, are
// errors.
func New(o Options) (*Sink, error) {
	u, err := url.Parse(o.URL)
	switch {
	case err != nil:
		return nil, fmt.Errorf("MLflow's address: %w", err)
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return nil, fmt.Errorf("MLflow's address %q: give one such as http://127.0.0.1:5000", u.Redacted())
	case u.User != nil:
		return nil, fmt.Errorf("MLflow's address %s: give user and password by the environment, not in the address", u.Redacted())
	case u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("MLflow's address %s: nothing may follow the path", u.Redacted())
	case o.Experiment == "":
		return nil, fmt.Errorf("MLflow's experiment needs a name")
	}
	return &Sink{url: strings.TrimRight(o.URL, "/"), experiment: o.Experiment, token: o.Token, username: o.Username, password: o.Password,
		http: &http.Client{Timeout: timeout}}, nil
}

// String implements track.Sink.
func (s *Sink) String() string {
	return fmt.Sprintf("MLflow at %s, experiment %s", s.url, s.experiment)
}

// idTag is the tag with a run's ID.
const idTag = "budgetmem.run"

// Limits of a log-batch request.
const (
	maxMetrics = 1000
	maxParams  = 100
	maxTags    = 100
)

type pair struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

type metric struct {
	Key       string  `json:"key"`
	Value     float64 `json:"value"`
	Timestamp int64   `json:"timestamp"` // milliseconds
	Step      int     `json:"step"`
}

type batch struct {
	RunID   string   `json:"run_id"`
	Metrics []metric `json:"metrics,omitempty"`
	Params  []pair   `json:"params,omitempty"`
	Tags    []pair   `json:"tags,omitempty"`
}

// run is a run as the server describes it.
type run struct {
	Info struct {
		RunID       string `json:"run_id"`
		Status      string `json:"status"`
		ArtifactURI string `json:"artifact_uri"`
	} `json:"info"`
	Data struct {
		Metrics []metric `json:"metrics"` // the latest of each name
	} `json:"data"`
}

// Open implements track.Sink. What the server refuses for good is a track.Permanent error.
func (s *Sink) Open(ctx context.Context, r track.Run) (track.Session, int, error) {
	experiment, err := s.experimentID(ctx)
	if err != nil {
		return nil, 0, err
	}
	var found struct{ Runs []run }
	err = s.post(ctx, "runs/search", map[string]any{"experiment_ids": []string{experiment}, "max_results": 1,
		"filter": fmt.Sprintf("tags.`%s` = '%s'", idTag, r.ID)}, &found)
	if err != nil {
		return nil, 0, err
	}
	it := &session{sink: s, latest: map[string]metric{}}
	if len(found.Runs) == 0 {
		if it.run, err = s.create(ctx, experiment, r); err != nil {
			return nil, 0, err
		}
	} else if it.run = found.Runs[0]; it.run.Info.Status != "RUNNING" {
		if err := it.update(ctx, "RUNNING"); err != nil {
			return nil, 0, err
		}
	}
	// Set each time, as an earlier start may have been killed before it.
	for params := range slices.Chunk(params(r.Config), maxParams) {
		if err := s.post(ctx, "runs/log-batch", batch{RunID: it.run.Info.RunID, Params: params}, nil); err != nil {
			return nil, 0, err
		}
	}
	for _, m := range it.run.Data.Metrics {
		it.latest[m.Key] = m
		it.next = max(it.next, m.Step+1)
	}
	return it, it.next, nil
}

// experimentID finds or creates the experiment.
func (s *Sink) experimentID(ctx context.Context) (string, error) {
	find := func() (string, error) {
		var reply struct {
			Experiment struct {
				ID    string `json:"experiment_id"`
				Stage string `json:"lifecycle_stage"`
			}
		}
		err := s.get(ctx, "experiments/get-by-name", url.Values{"experiment_name": {s.experiment}}, &reply)
		if err == nil && reply.Experiment.Stage == "deleted" {
			err = track.Permanent{Err: fmt.Errorf("the experiment was deleted: restore it, or give another name")}
		}
		return reply.Experiment.ID, err
	}
	id, err := find()
	if !hasCode(err, notThere) {
		return id, err
	}
	var made struct {
		ID string `json:"experiment_id"`
	}
	err = s.post(ctx, "experiments/create", map[string]string{"name": s.experiment}, &made)
	if hasCode(err, alreadyThere) { // another process was quicker
		return find()
	}
	return made.ID, err
}

func (s *Sink) create(ctx context.Context, experiment string, r track.Run) (run, error) {
	var reply struct{ Run run }
	err := s.post(ctx, "runs/create", map[string]any{"experiment_id": experiment, "run_name": r.Training + " " + r.Name, "start_time": time.Now().UnixMilli(),
		"tags": []pair{{idTag, r.ID}, {"budgetmem.training", r.Training}, {"mlflow.source.name", "bmem train"}, {"mlflow.source.type", "LOCAL"}, {"mlflow.source.git.commit", r.Commit}}}, &reply)
	return reply.Run, err
}

// params flattens a configuration, so that {"a": {"b": 1}} becomes a.b = 1, sorted by name.
func params(config map[string]any) []pair {
	var out []pair
	var add func(prefix string, v any)
	add = func(prefix string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for _, name := range slices.Sorted(maps.Keys(v)) {
				add(strings.TrimPrefix(prefix+"."+name, "."), v[name])
			}
		case string:
			out = append(out, pair{clean(prefix), cut(v, 500)})
		default:
			data, err := json.Marshal(v)
			if err != nil {
				data = fmt.Append(nil, v)
			}
			out = append(out, pair{clean(prefix), cut(string(data), 500)}) // a length that every server version accepts
		}
	}
	add("", config)
	return out
}

var notInNames = regexp.MustCompile(`[^\w/. :-]`)

// clean replaces the characters of a name that MLflow refuses.
func clean(name string) string { return cut(notInNames.ReplaceAllString(name, "_"), 250) }

// cut truncates a text to a length in bytes.
func cut(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for n--; n > 0 && !utf8.RuneStart(text[n]); n-- {
	}
	return text[:n]
}

// session is an open run.
type session struct {
	sink   *Sink
	run    run
	latest map[string]metric // when the session was opened
	next   int               // the next step
}

// Log implements track.Session.
func (s *session) Log(ctx context.Context, steps []track.Step) error {
	var metrics []metric
	flush := func() error {
		err := s.log(ctx, metrics, nil)
		metrics = nil
		return err
	}
	for _, step := range steps {
		// A step is sent as a whole, as the server's latest step says which steps it has.
		if len(metrics)+len(step.Values) > maxMetrics {
			if err := flush(); err != nil {
				return err
			}
		}
		metrics = append(metrics, metricsOf(step.Values, step.Step, step.Time)...)
	}
	if err := flush(); err != nil {
		return err
	}
	s.next = steps[len(steps)-1].Step + 1
	return nil
}

func metricsOf(values map[string]float64, step int, at time.Time) []metric {
	var out []metric
	for _, name := range slices.Sorted(maps.Keys(values)) {
		out = append(out, metric{clean(name), values[name], at.UnixMilli(), step})
	}
	return out
}

// log sends metrics in as few requests as the limits allow.
func (s *session) log(ctx context.Context, metrics []metric, tags []pair) error {
	for len(metrics)+len(tags) > 0 {
		m, t := min(len(metrics), maxMetrics-maxTags), min(len(tags), maxTags)
		if len(tags) == 0 {
			m = min(len(metrics), maxMetrics)
		}
		if err := s.sink.post(ctx, "runs/log-batch", batch{RunID: s.run.Info.RunID, Metrics: metrics[:m], Tags: tags[:t]}, nil); err != nil {
			return err
		}
		metrics, tags = metrics[m:], tags[t:]
	}
	return nil
}

// End implements track.Session. The summary is logged at the last step, the notes as tags.
func (s *session) End(ctx context.Context, o track.Outcome) error {
	var tags []pair
	for _, name := range slices.Sorted(maps.Keys(o.Notes)) {
		tags = append(tags, pair{clean("budgetmem." + name), cut(o.Notes[name], 500)})
	}
	metrics := slices.DeleteFunc(metricsOf(o.Summary, max(s.next-1, 0), time.Now()), func(m metric) bool {
		was, there := s.latest[m.Key]
		return there && was.Step == m.Step && was.Value == m.Value
	})
	dir, proxied := s.artifacts()
	if len(o.Files) > 0 && !proxied {
		tags = append(tags, pair{"budgetmem.files", cut("not uploaded, as this server does not take files for "+s.run.Info.ArtifactURI, 500)})
	}
	if err := s.log(ctx, metrics, tags); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(o.Files)) {
		if !proxied {
			break
		}
		data, err := os.ReadFile(o.Files[name])
		if err != nil {
			return track.Permanent{Err: err}
		}
		if err := s.sink.call(ctx, http.MethodPut, "/api/2.0/mlflow-artifacts/artifacts/"+escape(path.Join(dir, name)), "application/octet-stream", data, nil); err != nil {
			return err
		}
	}
	return s.update(ctx, strings.ToUpper(string(o.Status)))
}

// artifacts is the run's folder of proxied artifacts, if the server proxies artifacts.
func (s *session) artifacts() (dir string, proxied bool) {
	u, err := url.Parse(s.run.Info.ArtifactURI)
	if err != nil || u.Scheme != "mlflow-artifacts" {
		return "", false
	}
	return strings.Trim(cmp.Or(u.Path, u.Opaque), "/"), true
}

func escape(p string) string {
	parts := strings.Split(p, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return strings.Join(parts, "/")
}

// update sets the run's status: RUNNING, FINISHED, FAILED or KILLED.
func (s *session) update(ctx context.Context, status string) error {
	in := map[string]any{"run_id": s.run.Info.RunID, "status": status}
	if status != "RUNNING" {
		in["end_time"] = time.Now().UnixMilli()
	}
	return s.sink.post(ctx, "runs/update", in, nil)
}

// Close implements track.Session.
func (s *session) Close() error { return nil }
