package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/pflag"

	"github.com/budgetmem/budgetmem/bmem/setup"
	"github.com/budgetmem/budgetmem/experiments/workers/natsserver"
	"github.com/budgetmem/budgetmem/internal/models"
	"github.com/budgetmem/budgetmem/internal/models/modelstest"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

// A run over a worker, by the commands alone.
func TestEvalWithWorkers(t *testing.T) {
	modelstest.Path(t, setup.Embedder)
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "workers"),
		Setup: func(env *testscript.Env) error {
			endpoint := llmtest.New(llmtest.Config{Reply: func(c llmtest.Call) string { // differs, and is right now and then
				return []string{"Thursday", "the second of May", "Rita"}[len(c.Messages[len(c.Messages)-1].Content)%3]
			}})
			env.Defer(endpoint.Close)
			s, err := natsserver.Start(natsserver.Config{Addr: "127.0.0.1:0", Dir: filepath.Join(env.WorkDir, "nats")})
			if err != nil {
				return err
			}
			env.Defer(s.Stop)
			env.Setenv("ENDPOINT", endpoint.URL())
			env.Setenv("NATS", s.ClientURL())
			for _, name := range []string{models.EnvDir, "HOME", "XDG_CACHE_HOME", "BUDGETMEM_VENV"} { // where the model is
				if v, ok := os.LookupEnv(name); ok {
					env.Setenv(name, v)
				}
			}
			env.Setenv("BUDGETMEM_CACHE", filepath.Join(env.WorkDir, "cache"))
			env.Setenv("BUDGETMEM_BACKEND", "go")
			return nil
		},
	})
}

// A key goes to no endpoint that only the run names.
func TestWorkerKeepsItsKeys(t *testing.T) {
	for _, c := range []struct{ flags, refused string }{
		{"--api-key-env KEY", "say which endpoint the key is for"},
		{"--api-key-env http://mine/v1=KEY", ""},
		{"--api-key-env KEY --endpoint http://mine/v1", ""},
	} {
		var f workerFlags
		flags := pflag.NewFlagSet("worker", pflag.ContinueOnError)
		f.system.bind(flags)
		if err := flags.Parse(strings.Fields(c.flags)); err != nil {
			t.Fatal(err)
		}
		own, err := f.spec(flags, opens{Model: "m", Endpoints: []string{"http://theirs/v1"}, Roles: map[string]string{"small": "s@http://theirs/v1"}, Tiers: "implementation", AnswerSamples: 1})
		if (err == nil) != (c.refused == "") || err != nil && !strings.Contains(err.Error(), c.refused) {
			t.Errorf("%s: error %v, want %q", c.flags, err, c.refused)
		}
		if own.spec.Model != "m" && err == nil {
			t.Errorf("%s: model %q, want the run's", c.flags, own.spec.Model)
		}
	}
}

// What another machine sent does not reach the terminal as a command.
func TestNotesArePlain(t *testing.T) {
	var b strings.Builder
	notes(&b, "note: ")("run r: \x1b]0;title\a locomo\r\nmore")
	if got := b.String(); strings.ContainsAny(got, "\x1b\a\r") || !strings.HasPrefix(got, "note: run r:") || !strings.Contains(got, "locomo") {
		t.Errorf("the user is shown %q", got)
	}
}
