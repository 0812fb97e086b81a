package portable

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/internal/safetensors"
)

func marshal(t testing.TB, r *Router) []byte {
	t.Helper()
	b, err := r.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestFileRoundTrip(t *testing.T) {
	want := random(t, testInfo, 8, 4, 1)
	file := marshal(t, want)
	path := filepath.Join(t.TempDir(), "r.safetensors")
	if err := os.WriteFile(path, file, 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Error("the router that was read is not the one that was written")
	}
	if !bytes.Equal(marshal(t, got), file) {
		t.Error("writing it again gives other bytes")
	}
	noted, err := got.WithInfo([]Point{{0, 1, 1}}, "a note")
	if err != nil || noted.Info().Note != "a note" || len(got.Info().Calibration) != 3 {
		t.Errorf("WithInfo gave %+v, %v", noted, err)
	}
}

// A file that is cut anywhere, or has any one byte changed, is refused: the header's padding is all that has no meaning.
func TestEveryDamageIsSeen(t *testing.T) {
	info := testInfo
	info.Dim = 2
	file := marshal(t, random(t, info, 2, 2, 1))
	for n := range file {
		if _, err := Parse(file[:n]); !errors.Is(err, ErrFile) {
			t.Fatalf("cut to %d of %d bytes: %v", n, len(file), err)
		}
	}
	want, err := Parse(file)
	if err != nil {
		t.Fatal(err)
	}
	for i := range file {
		damaged := bytes.Clone(file)
		damaged[i] ^= 1
		if r, err := Parse(damaged); err == nil && !reflect.DeepEqual(r, want) {
			t.Fatalf("byte %d (%q) was changed unseen", i, file[i])
		}
	}
}

func TestParseRefuses(t *testing.T) {
	good := marshal(t, random(t, testInfo, 8, 4, 1))
	for name, c := range map[string]struct {
		change func(*safetensors.File)
		is     error
		want   string
	}{
		"another kind":    {func(f *safetensors.File) { f.Metadata = nil }, ErrFile, `"format" is ""`},
		"no version":      {func(f *safetensors.File) { f.Metadata[keyVersion] = "new" }, ErrFile, `"new", not a version`},
		"future version":  {func(f *safetensors.File) { f.Metadata[keyVersion] = "3" }, ErrVersion, "it has 3, this program reads up to 2"},
		"no description":  {func(f *safetensors.File) { f.Metadata[keyRouter] = "{" }, ErrFile, `"router"`},
		"bad description": {func(f *safetensors.File) { f.Metadata[keyRouter] = `{"dim":3}` }, ErrFile, "no modules"},
		"missing tensor":  {func(f *safetensors.File) { delete(f.Tensors, "memory") }, ErrFile, `"memory" is missing`},
		"other width": {func(f *safetensors.File) {
			f.Tensors["memory"] = safetensors.FromFloat32(make([]float32, 8), 8, 1)
		}, ErrFile, `"memory" has shape [8 1] instead of [37 8]`},
		"other type": {func(f *safetensors.File) {
			f.Tensors["lambda"] = safetensors.FromFloat64(make([]float64, 8), 8)
		}, ErrFile, `"lambda": elements are "F64"`},
		"more tensors": {func(f *safetensors.File) { f.Tensors["x"] = safetensors.FromFloat32(nil, 0) }, ErrFile, "11 tensors instead of 10"},
		"other weights": {func(f *safetensors.File) {
			f.Tensors["lambda"] = safetensors.FromFloat32(make([]float32, 8), 8)
		}, ErrFile, "SHA-256"},
	} {
		f, err := safetensors.Parse(good)
		if err != nil {
			t.Fatal(err)
		}
		c.change(&f)
		file, err := f.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse(file); !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, c.want)
		}
	}
	dir := t.TempDir()
	if _, err := ReadFile(dir); !errors.Is(err, ErrFile) || !strings.Contains(err.Error(), dir) {
		t.Errorf("a folder: %v", err)
	}
	if _, err := ReadFile(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// FuzzParse feeds damaged files, also with a hash that fits, so that what lies behind the hash is reached.
func FuzzParse(f *testing.F) {
	info := testInfo
	info.Dim = 2
	whole := marshal(f, random(f, info, 2, 2, 1))
	file, err := safetensors.Parse(whole)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole, file.Metadata[keyRouter], uint8(0))
	f.Add(whole[:100], `{"dim":2,"modules":[{"name":"a","tiers":["x","y"]}]}`, uint8(1))
	f.Fuzz(func(t *testing.T, b []byte, description string, drop uint8) {
		check := func(b []byte) {
			r, err := Parse(b)
			if err != nil {
				if !errors.Is(err, ErrFile) && !errors.Is(err, ErrVersion) {
					t.Fatalf("an error of no kind: %v", err)
				}
				return
			}
			if _, err := Parse(marshal(t, r)); err != nil {
				t.Fatalf("what was read cannot be written and read: %v", err)
			}
			d := r.NewDecider()
			if err := d.Question(make([]float32, r.info.Dim), r.info.Lambda.Max); err != nil {
				t.Fatal(err)
			}
			for m := range r.info.Modules {
				if tier := d.Decide(m); tier >= len(r.info.Modules[m].Tiers) {
					t.Fatalf("module %d got tier %d", m, tier)
				}
			}
		}
		check(b)
		parsed, err := safetensors.Parse(b)
		if err != nil {
			parsed, _ = safetensors.Parse(whole)
		}
		if parsed.Metadata == nil {
			parsed.Metadata = map[string]string{}
		}
		parsed.Metadata[keyFormat], parsed.Metadata[keyVersion], parsed.Metadata[keyRouter] = format, "1", description
		var info Info
		if json.Unmarshal([]byte(description), &info) != nil || len(info.Modules) > 100 {
			return
		}
		var w Weights
		tensors := w.tensors(info, size(parsed, "lambda"), size(parsed, "actor.bias"), info.tiers())
		if n := int(drop) % (len(tensors) + 1); n > 0 {
			delete(parsed.Tensors, tensors[n-1].name)
		}
		parsed.Metadata[keyHash] = hash(parsed, tensors)
		if b, err := parsed.Marshal(); err == nil {
			check(b)
		}
	})
}

// A router without signals is written as it always was; one with signals as version 2, which decides the same when it is read.
func TestSignalsFile(t *testing.T) {
	for _, info := range []Info{testInfo, withSignals()} {
		r := random(t, info, 8, 4, 1)
		file, err := r.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		f, err := safetensors.Parse(file)
		if err != nil {
			t.Fatal(err)
		}
		want := "1"
		if len(info.Signals) > 0 {
			want = "2"
		}
		if got := f.Metadata[keyVersion]; got != want || strings.Contains(f.Metadata[keyRouter], "signals") != (want == "2") {
			t.Errorf("version %s, described as %s", got, f.Metadata[keyRouter])
		}
		back, err := Parse(file)
		if err != nil || !slices.Equal(back.w.Signals, r.w.Signals) || !slices.Equal(back.Info().Signals, info.Signals) {
			t.Errorf("read again: %+v, %v", back, err)
		}
	}
}
