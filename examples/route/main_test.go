package main

import (
	"bytes"
	"strings"
	"testing"
)

// dear counts how dear a line's tiers are.
func dear(line string) int { return strings.Count(line, "=mid") + 2*strings.Count(line, "=high") }

// The sample questions of different kinds get different tiers, and cheaper ones at a large λ.
func TestRoute(t *testing.T) {
	var out bytes.Buffer
	if err := run(nil, nil, &out); err != nil {
		t.Fatal(err)
	}
	first, last := map[string]string{}, map[string]string{}
	var question string
	for line := range strings.Lines(out.String()) {
		switch {
		case !strings.HasPrefix(line, " "):
			question = line
		case strings.HasPrefix(line, "  λ 0 "):
			first[question] = line
		case strings.HasPrefix(line, "  λ 1 "):
			last[question] = line
		}
	}
	routes := map[string]bool{}
	for question, line := range first {
		routes[line] = true
		if dear(last[question]) >= dear(line) {
			t.Errorf("%sis as dear at λ 1 as at λ 0:\n%s%s", question, line, last[question])
		}
	}
	if len(first) != 3 || len(routes) != 3 {
		t.Errorf("%d questions got %d different routes", len(first), len(routes))
	}
}

func TestRouteRefuses(t *testing.T) {
	for input, want := range map[string]string{
		`{"text":"short","query":[1],"memories":[[1],[1],[1]]}`: "1 numbers",
		`{"text":"none","query":[1]}`:                           "0 memories",
		`{`:                                                     "read a question",
	} {
		if err := run([]string{"0.5"}, strings.NewReader(input), &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", input, err, want)
		}
	}
	if err := run([]string{"x"}, nil, &bytes.Buffer{}); err == nil {
		t.Error("λ x was taken")
	}
}
