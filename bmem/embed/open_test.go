package embed

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestOpenMiniLMNamesFolderAndFile(t *testing.T) {
	dir := t.TempDir()
	if _, err := OpenMiniLM(dir, nil); err == nil || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "config.json") {
		t.Errorf("empty folder: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenMiniLM(dir, nil); err == nil || !strings.Contains(err.Error(), "config.json: model_type") {
		t.Errorf("empty config: %v", err)
	}
}
