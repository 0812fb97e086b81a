package models

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// An adapter has a name in the folder adapters, here or beside the models; the one here comes first.
func TestAdapters(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	path := must(w.Pull(ctx, "big", nil)).Path
	t.Chdir(t.TempDir())
	write := func(dir, config string) {
		t.Helper()
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, adapterConfig), []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	beside := filepath.Join(w.Dir, "adapters")
	write(filepath.Join("adapters", "one"), `{"base_model_name_or_path": "big"}`)
	write(filepath.Join(beside, "one"), `{"base_model_name_or_path": "big"}`)
	write(filepath.Join(beside, "two"), `{"base_model_name_or_path": "big"}`)
	write(filepath.Join(beside, "alien"), `{"base_model_name_or_path": "of nobody"}`)
	write(filepath.Join(beside, "broken"), `{`)
	if err := os.WriteFile(filepath.Join(beside, "notes.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	want := []Adapter{{"one", "big", filepath.Join("adapters", "one")}, {"two", "big", filepath.Join(beside, "two")}}
	if got := must(w.Adapters()); !reflect.DeepEqual(got, want) {
		t.Errorf("Adapters: %+v, want %+v", got, want)
	}
	write(filepath.Join("runs", "mine", "best"), `{}`)
	for name, want := range map[string]Located{
		"big":                {Name: "big", Path: path},
		"big+one":            {Name: "big+one", Path: path, Adapter: filepath.Join("adapters", "one")},
		"big+two":            {Name: "big+two", Path: path, Adapter: filepath.Join(beside, "two")},
		"big+runs/mine/best": {Name: "big+best", Path: path, Adapter: filepath.Join("runs", "mine", "best")},
		"a+b.gguf":           {Name: "a+b", Path: "a+b.gguf"},
	} {
		if name == "a+b.gguf" {
			if err := os.WriteFile(name, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := w.Locate(ctx, name); err != nil || got != want {
			t.Errorf("Locate(%q): %+v, %v; want %+v", name, got, err, want)
		}
	}
	if _, err := w.Locate(ctx, "big+three"); err == nil || !strings.Contains(err.Error(), filepath.Join(beside, "three")) {
		t.Errorf("an adapter that is nowhere: %v", err)
	}
}
