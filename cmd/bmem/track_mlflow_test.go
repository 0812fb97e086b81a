package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// startMLflow starts a real server on a free port, with a store of its own.
func startMLflow(t *testing.T) string {
	t.Helper()
	python := trackers(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().(*net.TCPAddr)
	listener.Close()
	dir := t.TempDir()
	cmd := exec.Command(python, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", fmt.Sprint(address.Port), "--workers", "1",
		"--backend-store-uri", "sqlite:///"+filepath.Join(dir, "store.db"), "--artifacts-destination", filepath.Join(dir, "files"))
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false", "MLFLOW_DISABLE_TELEMETRY=true")
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.WaitDelay = 5 * time.Second
	cmd.SysProcAttr = ownGroup()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		endGroup(cmd)
		<-ended
	})
	base := "http://" + address.String()
	for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if resp, err := http.Get(base + "/health"); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return base
			}
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("the server ended: %v\n%s", err, &output)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("the server does not answer\n%s", &output)
		}
	}
}

// rest asks a server.
func rest(t *testing.T, out any, method, address string, body any) {
	t.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest(method, address, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err = io.ReadAll(resp.Body)
	if raw, ok := out.(*[]byte); ok {
		*raw = data
	} else if err == nil {
		err = json.Unmarshal(data, out)
	}
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %v, %s\n%s", method, address, err, resp.Status, data)
	}
}

// A real MLflow server has what the training's files have, once, also if the training was killed on its way.
func TestMLflowServer(t *testing.T) {
	base := startMLflow(t)
	api := base + "/api/2.0/mlflow/"
	dir := t.TempDir()
	args := append(madeUp(t, dir), "--mlflow", base+"/", "--mlflow-experiment", "test of ours")
	killOnTheWay(t, dir, args)
	type tagged []struct{ Key, Value string }
	for range 2 { // the second start finds everything done
		if out, err := runVerb(t, "", args...); err != nil || strings.Contains(out, "MLflow at") {
			t.Fatalf("%v\n%s", err, out)
		}
		var experiment struct {
			Experiment struct {
				ID string `json:"experiment_id"`
			}
		}
		rest(t, &experiment, "GET", api+"experiments/get-by-name?experiment_name="+url.QueryEscape("test of ours"), nil)
		var found struct {
			Runs []struct {
				Info struct {
					ID     string `json:"run_id"`
					Name   string `json:"run_name"`
					Status string
				}
				Data struct {
					Metrics      []struct{ Key string }
					Params, Tags tagged
				}
			}
		}
		rest(t, &found, "POST", api+"runs/search", map[string]any{"experiment_ids": []string{experiment.Experiment.ID}})
		if len(found.Runs) != 2 {
			t.Fatalf("%d runs, want 2", len(found.Runs))
		}
		for _, run := range found.Runs {
			var seed int
			if _, err := fmt.Sscanf(run.Info.Name, "one seed %d", &seed); err != nil || run.Info.Status != "FINISHED" {
				t.Fatalf("run %+v: %v", run.Info, err)
			}
			steps, summary, hash := want(t, dir, seed)
			maps.Copy(steps[len(steps)-1], summary)
			got := make([]map[string]float64, len(steps))
			for _, m := range run.Data.Metrics {
				var history struct {
					Metrics []struct {
						Step  int
						Value float64
					}
				}
				rest(t, &history, "GET", api+"metrics/get-history?run_id="+run.Info.ID+"&metric_key="+url.QueryEscape(m.Key), nil)
				for _, point := range history.Metrics {
					if got[point.Step] == nil {
						got[point.Step] = map[string]float64{}
					}
					if _, twice := got[point.Step][m.Key]; twice {
						t.Errorf("%s is there twice at step %d", m.Key, point.Step)
					}
					got[point.Step][m.Key] = point.Value
				}
			}
			compare(t, seed, got, steps)
			for _, p := range []struct {
				in   tagged
				k, v string
			}{
				{run.Data.Params, "config.seed", fmt.Sprint(seed)}, {run.Data.Params, "method", "ppo"}, {run.Data.Params, "train.dataset", "made up"},
				{run.Data.Tags, "budgetmem.training", "one"}, {run.Data.Tags, "budgetmem.sha256.best", hash}, {run.Data.Tags, "mlflow.source.name", "bmem train"},
			} {
				if !slices.Contains(p.in, struct{ Key, Value string }{p.k, p.v}) {
					t.Errorf("seed %d: no %s = %s in %v", seed, p.k, p.v, p.in)
				}
			}
			var router []byte
			rest(t, &router, "GET", base+"/get-artifact?path=best.safetensors&run_uuid="+run.Info.ID, nil)
			kept, err := os.ReadFile(filepath.Join(dir, "one", fmt.Sprintf("seed-%d", seed), "checkpoints", "best.safetensors"))
			if err != nil || !bytes.Equal(router, kept) {
				t.Errorf("seed %d: the artefact is not the best router, %v", seed, err)
			}
		}
	}
}
