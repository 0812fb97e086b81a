package main

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

// --before and --after hide turns, by the times of their sessions; what is no time is refused before anything is opened.
func TestAskAsOf(t *testing.T) {
	a := newAsker(t)
	const talk = `{"id":"old","session":"1","time":"3 May 2024","speaker":"Ann","text":"We meet at the old mill."}
{"id":"new","session":"2","time":"8 July 2024","speaker":"Ann","text":"From now on we meet at the lake."}`
	if err := os.WriteFile(a.talk, []byte(talk), 0o600); err != nil {
		t.Fatal(err)
	}
	s := llmtest.New(llmtest.Config{Reply: func(llmtest.Call) string { return "The old mill" }})
	defer s.Close()
	for _, tt := range []struct{ flags, want string }{
		{"", "new old"}, {"--before 2024-06-01", "old"}, {"--after 2024-06-01T00:00:00Z", "new"}, {"--before 2024-07-09 --after 2024-05-03", "new old"},
	} {
		answer, err := a.ask("cache", append(strings.Fields(tt.flags), "--endpoint", s.URL(), "--model", "m")...)
		if err != nil {
			t.Fatalf("%s: %v", tt.flags, err)
		}
		var seen []string
		for _, c := range answer.Trace.Retrieved {
			seen = append(seen, c.Turns...)
		}
		slices.Sort(seen)
		if got := strings.Join(seen, " "); got != tt.want {
			t.Errorf("%s: turns %s, want %s", tt.flags, got, tt.want)
		}
	}
	for _, flag := range []string{"--before", "--after"} {
		if _, err := a.ask("cache", flag, "yesterday"); err == nil || !strings.Contains(err.Error(), flag+` "yesterday": want a day such as`) {
			t.Errorf("%s: %v", flag, err)
		}
	}
}
