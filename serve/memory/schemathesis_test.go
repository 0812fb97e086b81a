//go:build rest

package memory_test

import (
	"flag"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/budgetmem/budgetmem/internal/testenv"
	"github.com/budgetmem/budgetmem/serve/memory"
)

// go test ./serve/memory -tags rest -run Schemathesis -requests 240 asks fewer.
var requests = flag.Int("requests", 2000, "how many requests TestSchemathesis makes, about")

// Schemathesis generates requests from the description, right and wrong ones, and finds no answer that the description does
// not allow.
func TestSchemathesis(t *testing.T) {
	python := testenv.Python(t, "rest", "schemathesis", "check-rest")
	c := open(t, nil)
	for _, text := range []string{"We meet at the old mill.", "I bring bread."} {
		c.do("POST", "/v1/memories/chat/turns", `{"turns":[{"text":"`+text+`"}]}`, nil)
	}
	each := *requests / 12 // operations
	settings, err := filepath.Abs(filepath.Join("testdata", "schemathesis.toml"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), python, "-m", "schemathesis.cli", "--config-file", settings, "run", c.url+memory.DescriptionPath, "--max-examples", strconv.Itoa(each),
		"--seed", "1", "--no-color", "--phases", "examples,fuzzing", "--request-timeout", "30")
	cmd.Dir = t.TempDir() // it keeps what it found in a folder
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	} else {
		t.Logf("%s", out)
	}
}
