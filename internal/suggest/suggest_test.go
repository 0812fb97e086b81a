package suggest

import "testing"

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "abc", 3}, {"kitten", "sitting", 3}, {"flaw", "lawn", 2}, {"é", "e", 1}, {"same", "same", 0},
	} {
		if got := distance([]rune(c.a), []rune(c.b)); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
		if got := distance([]rune(c.b), []rune(c.a)); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.b, c.a, got, c.want)
		}
	}
}

func TestName(t *testing.T) {
	known := []string{"locomo", "longmemeval", "hotpotqa"}
	for typed, want := range map[string]string{"lokomo": "locomo", "hotpot": "hotpotqa", "LongMemEval": "longmemeval", "locomo": "locomo"} {
		if got := Name(typed, known); got != want {
			t.Errorf("Name(%q) = %q, want %q", typed, got, want)
		}
	}
	if got := Name("x", nil); got != "" {
		t.Errorf("Name with nothing known = %q, want none", got)
	}
}
