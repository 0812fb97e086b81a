package child

import (
	"fmt"
	"strings"
	"testing"
)

func TestTailKeepsTheEnd(t *testing.T) {
	tail := Tail{Bytes: 12}
	if tail.String() != "" || tail.Lines(3) != "" {
		t.Errorf("an empty tail holds %q", tail.String())
	}
	for i := range 5 {
		if n, err := fmt.Fprintf(&tail, "line %d\n", i); n != 7 || err != nil {
			t.Fatal(n, err)
		}
	}
	if got, want := tail.String(), "ne 3\nline 4"; got != want {
		t.Errorf("kept %q, want %q", got, want)
	}
	if got, want := tail.Lines(2), "ne 3; line 4"; got != want {
		t.Errorf("lines %q, want %q", got, want)
	}
	if got, want := tail.Lines(1), "line 4"; got != want {
		t.Errorf("last line %q, want %q", got, want)
	}
	long := strings.Repeat("x", 40)
	if n, err := tail.Write([]byte(long)); n != 40 || err != nil || tail.String() != long[:12] {
		t.Errorf("%d, %v, %q", n, err, tail.String())
	}
}
