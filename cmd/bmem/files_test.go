package main

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/internal/backend"
)

// partOfModel is the head of a GGUF file that is one of several parts.
func partOfModel() []byte {
	var b bytes.Buffer
	put := func(values ...any) {
		for _, v := range values {
			if s, ok := v.(string); ok {
				v = append(binary.LittleEndian.AppendUint64(nil, uint64(len(s))), s...)
			}
			_ = binary.Write(&b, binary.LittleEndian, v) // a buffer takes everything
		}
	}
	b.WriteString("GGUF")
	put(uint32(3), uint64(0), uint64(3))
	put("general.architecture", uint32(8), "llama")
	put("split.count", uint32(2), uint16(2))
	put("split.no", uint32(2), uint16(0))
	return b.Bytes()
}

// A part of a split model is called that, with what to do, whatever the file is called and whether the others are there.
func TestPartsOfModels(t *testing.T) {
	for name, files := range map[string][]string{"alone": {"tiny-00001-of-00002.gguf"}, "all": {"tiny-00001-of-00002.gguf", "tiny-00002-of-00002.gguf"},
		"another name": {"model.gguf"}, "a gap": {"tiny-00001-of-00003.gguf", "tiny-00003-of-00003.gguf"}} {
		t.Run(name, func(t *testing.T) {
			a := newAsker(t)
			for _, f := range files {
				if err := os.WriteFile(filepath.Join(a.dir, f), partOfModel(), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			_, err := a.ask("c", "--allow-unpriced", "--model", filepath.Join(a.dir, files[0]))
			if err == nil || !strings.Contains(err.Error(), "part 1 of a model") || !strings.Contains(err.Error(), "merge") {
				t.Errorf("error %v", err)
			}
		})
	}
}

// A small file cannot unpack into the whole memory.
func TestATraceFileThatUnpacksToMuch(t *testing.T) {
	path := filepath.Join(t.TempDir(), "b.jsonl.gz")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	z := gzip.NewWriter(f)
	block := bytes.Repeat([]byte("a"), 1<<20)
	for range 256 {
		if _, err := z.Write(block); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err = runVerb(t, "", "traces", "info", path)
	runtime.ReadMemStats(&after)
	if grew := (after.TotalAlloc - before.TotalAlloc) >> 20; err == nil || !strings.Contains(err.Error(), "line") || grew > 128 {
		t.Errorf("%d MB for one line of 256 MB, error %v", grew, err)
	}
}

// What lies in the folder that a command is started in is not run: neither a plugin of an accelerator nor Python.
func TestCodeOfTheWorkingFolder(t *testing.T) {
	dir := t.TempDir()
	sub := filepath.Join(dir, "sub")
	plugin := filepath.Join(dir, ".venv", "lib", "python3.11", "site-packages", "lammps_jax_pjrt_cpu", "pjrt_c_api_cpu_plugin.so")
	for _, path := range []string{filepath.Dir(plugin), sub} {
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(plugin, []byte("no library"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Chdir(sub)
	for _, p := range backend.Plugins() {
		if strings.HasPrefix(p.Path, dir) {
			t.Errorf("%s would be loaded", p.Path)
		}
	}
	out, _ := runVerb(t, "", "doctor") // what it finds missing here is of no matter
	if strings.Contains(out, dir) {
		t.Errorf("doctor looks below the working folder:\n%s", out)
	}
}
