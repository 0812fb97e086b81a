package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// price counts how dear a line's tiers are.
func price(line string) int { return strings.Count(line, "=mid") + 2*strings.Count(line, "=high") }

// The sample questions of different kinds get different tiers, and cheaper ones at a large λ.
func TestRoute(t *testing.T) {
	questions, err := os.Open("questions.json")
	if err != nil {
		t.Fatal(err)
	}
	defer questions.Close()
	var out bytes.Buffer
	if err := run(questions, &out); err != nil {
		t.Fatal(err)
	}
	first, last := map[string]string{}, map[string]string{}
	for line := range strings.Lines(out.String()) {
		question, tiers, _ := strings.Cut(line, " λ=")
		switch lambda, _, _ := strings.Cut(tiers, " "); lambda {
		case "0":
			first[question] = tiers
		case "1":
			last[question] = tiers
		}
	}
	routes := map[string]bool{}
	for question, tiers := range first {
		routes[tiers] = true
		if price(last[question]) >= price(tiers) {
			t.Errorf("%s is as dear at λ 1 as at λ 0:\n%s%s", question, tiers, last[question])
		}
	}
	if len(first) != 3 || len(routes) != 3 {
		t.Errorf("%d questions got %d different routes", len(first), len(routes))
	}
}

func TestRouteRefuses(t *testing.T) {
	for input, want := range map[string]string{
		`{"text":"short","query":[1],"memories":[[1],[1],[1]]}`: "1 numbers",
		`{`: "read a question",
	} {
		if err := run(strings.NewReader(input), &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", input, err, want)
		}
	}
}
