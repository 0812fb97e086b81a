package atomicfile

import (
	"os"
	"path/filepath"
	"testing"
)

func TestRename(t *testing.T) {
	dir := t.TempDir()
	tmp, path := filepath.Join(dir, "tmp"), filepath.Join(dir, "file")
	for _, content := range []string{"first", "second"} {
		if err := os.WriteFile(tmp, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := Rename(tmp, path); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != content {
			t.Errorf("got %q, %v; want %q", got, err, content)
		}
	}
	if err := Rename(tmp, path); err == nil {
		t.Error("no error for a missing temporary file")
	}
	if got, _ := os.ReadFile(path); string(got) != "second" {
		t.Errorf("a failed Rename left %q", got)
	}
	os.WriteFile(tmp, []byte("third"), 0o600)
	if err := Rename(tmp, filepath.Join(dir, "no", "folder")); err == nil {
		t.Error("no error for a missing folder")
	}
	if _, err := os.Stat(tmp); err != nil {
		t.Errorf("a failed Rename lost the temporary file: %v", err)
	}
}
