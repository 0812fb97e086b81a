package episodes_test

import (
	"bytes"
	"compress/gzip"
	"runtime"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/experiments/episodes"
)

// A small file that unpacks to one endless line is refused by that line, before it takes much memory.
func TestLongLines(t *testing.T) {
	header, _, ok := strings.Cut(unpacked(t, task.File(3)), "\n")
	if !ok {
		t.Fatal("no header")
	}
	for name, c := range map[string]struct{ head, want string }{
		"header": {"", "bomb.gz:1: the line is longer than the limit of 1048576 bytes"}, "line": {header + "\n", "bomb.gz:2: the line is longer than the limit of 16777216 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			var bomb bytes.Buffer
			w := gzip.NewWriter(&bomb)
			w.Write([]byte(c.head))
			chunk := bytes.Repeat([]byte("a"), 1<<20)
			for range 200 {
				w.Write(chunk)
			}
			w.Close()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := episodes.Parse("bomb.gz", &bomb)
			runtime.ReadMemStats(&after)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if grown := after.TotalAlloc - before.TotalAlloc; grown > 150<<20 {
				t.Errorf("allocated %d MB", grown>>20)
			}
		})
	}
}
