//go:build rest

package memory_test

import (
	"flag"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/budgetmem/budgetmem/internal/testenv"
	"github.com/budgetmem/budgetmem/serve/memory"
)

// go test ./serve/memory -tags rest -run Schemathesis -requests 240 asks fewer.
var requests = flag.Int("requests", 2000, "how many requests TestSchemathesis makes at least")

// madeRE finds how many requests were made in what Schemathesis prints at the end.
var madeRE = regexp.MustCompile(`([0-9]+) generated, [0-9]+ passed`)

// Schemathesis generates requests from the description, right and wrong ones, and finds no answer that the description does
// not allow.
func TestSchemathesis(t *testing.T) {
	python := testenv.Python(t, "rest", "schemathesis", "check-rest")
	c := open(t, nil)
	for id, text := range map[string]string{"a": "We meet at the old mill.", "b": "I bring bread."} { // the settings name chat and a
		if s := c.do("POST", "/v1/memories/chat/turns", `{"turns":[{"id":"`+id+`","session":"1","text":"`+text+`"}]}`, nil); s != 200 {
			t.Fatal(s)
		}
	}
	each := *requests / 9 // of the 12 operations some have few different requests
	settings, err := filepath.Abs(filepath.Join("testdata", "schemathesis.toml"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), python, "-m", "schemathesis.cli", "--config-file", settings, "run", c.url+memory.DescriptionPath, "--max-examples", strconv.Itoa(each),
		"--seed", "1", "--no-color", "--phases", "coverage,fuzzing", "--request-timeout", "30")
	cmd.Dir = t.TempDir() // it keeps what it found in a folder
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
		return
	}
	t.Logf("%s", out)
	made := madeRE.FindSubmatch(out)
	if made == nil {
		t.Fatal("it does not say how many requests it made")
	}
	if n, err := strconv.Atoi(string(made[1])); err != nil || n < *requests {
		t.Errorf("%d requests were made, want %d", n, *requests)
	}
}
