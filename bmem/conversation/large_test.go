package conversation

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/bmem/chunk"
)

// endless writes an export of any length.
type endless struct {
	begin, end string
	element    func(i int) string
	n, i       int
	rest       string
}

func (e *endless) Read(p []byte) (int, error) {
	for e.rest == "" {
		switch {
		case e.i > e.n+1:
			return 0, io.EOF
		case e.i == 0:
			e.rest = e.begin
		case e.i == e.n+1:
			e.rest = e.end
		default:
			e.rest = e.element(e.i)
			if e.i < e.n {
				e.rest += ","
			}
		}
		e.i++
	}
	n := copy(p, e.rest)
	e.rest = e.rest[n:]
	return n, nil
}

// telegram is one object that holds all; chatGPT a list of conversations.
func telegram(n int) *endless {
	return &endless{n: n, begin: `{"name": "Rita", "type": "personal_chat", "id": 7, "messages": [`, end: "\n]}", element: func(i int) string {
		return fmt.Sprintf("\n"+`{"id": %d, "type": "message", "date": "2025-%02d-03T10:04:00", "from": "Rita", "text": "Message %d, %s"}`, i, 1+i*12/(n+1), i, strings.Repeat("of the old mill ", 12))
	}}
}

func chatGPTExport(n int) *endless {
	return &endless{n: n, begin: "[", end: "]\n", element: func(i int) string {
		var b strings.Builder
		fmt.Fprintf(&b, `{"title": "Talk %d", "create_time": 1740996240, "mapping": {"m0": {"id": "m0", "parent": null, "message": null}`, i)
		for j := 1; j <= 40; j++ {
			fmt.Fprintf(&b, `, "m%d": {"id": "m%d", "parent": "m%d", "children": ["m%d"], "message": {"id": "m%d", "author": {"role": "%s", "name": null, "metadata": {}}, "create_time": %d, "content": {"content_type": "text", "parts": ["Message %d of %d: %s"]}, "status": "finished_successfully", "weight": 1.0, "metadata": {"model_slug": "m"}}}`,
				j, j, j-1, j+1, j, []string{"user", "assistant"}[j%2], 1740996240+i*1000+j, j, i, strings.Repeat("of the old mill ", 20))
		}
		return b.String() + `}, "current_node": "m40"}`
	}}
}

// write writes a file and returns its size.
func write(tb testing.TB, path string, r io.Reader) int64 {
	tb.Helper()
	f, err := os.Create(path)
	if err != nil {
		tb.Fatal(err)
	}
	n, err := io.Copy(f, r)
	if err = errors.Join(err, f.Close()); err != nil {
		tb.Fatal(err)
	}
	return n
}

// A large export needs little memory, in whatever form, and gives what a small one does.
func TestLargeExportsNeedLittleMemory(t *testing.T) {
	for name, e := range map[string]*endless{"telegram": telegram(30_000), "chatgpt": chatGPTExport(300)} {
		path := filepath.Join(t.TempDir(), name+".json")
		size := write(t, path, e)
		f, err := Open(context.Background(), path, nil)
		if err != nil {
			t.Fatal(err)
		}
		runtime.GC()
		var before, now runtime.MemStats
		runtime.ReadMemStats(&before)
		n, peak := 0, uint64(0)
		var last chunk.Turn
		for turn, err := range f.All() {
			if err != nil {
				t.Fatal(err)
			}
			if n++; n%2000 == 0 {
				runtime.GC()
				runtime.ReadMemStats(&now)
				peak = max(peak, now.HeapAlloc)
			}
			last = turn
		}
		if n != f.Turns || n < 10_000 || size < 7<<20 {
			t.Errorf("%s: %d turns of %d bytes", name, n, size)
		}
		if want := map[string]string{"telegram": "Rita, 2025-12-03", "chatgpt": "Talk 300"}[name]; last.Session != want {
			t.Errorf("%s: the last session is %q, want %q", name, last.Session, want)
		}
		if grown := int64(peak) - int64(before.HeapAlloc); grown > 2<<20 {
			t.Errorf("%s: a file of %d MB took %d MB", name, size>>20, grown>>20)
		}
	}
}

// BenchmarkImport reads a ChatGPT export of 200 MB and says how much memory the process took at most.
func BenchmarkImport(b *testing.B) {
	path := filepath.Join(b.TempDir(), "conversations.json")
	size := write(b, path, chatGPTExport(8_000))
	for b.Loop() {
		f, err := Open(context.Background(), path, nil)
		if err != nil {
			b.Fatal(err)
		}
		n := 0
		for _, err := range f.All() {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
		b.ReportMetric(float64(n), "turns")
	}
	b.ReportMetric(float64(size)/(1<<20), "MB-file")
	if status, err := os.ReadFile("/proc/self/status"); err == nil {
		var kb float64
		if i := bytes.Index(status, []byte("VmHWM:")); i >= 0 {
			if _, err := fmt.Sscan(string(status[i+len("VmHWM:"):]), &kb); err == nil {
				b.ReportMetric(kb/1024, "MB-peak")
			}
		}
	}
}
