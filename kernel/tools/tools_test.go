package tools

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The corrections fit the version of GoNB that go.mod asks for, and the corrected sources are in good form.
func TestCorrect(t *testing.T) {
	to := filepath.Join(t.TempDir(), "gonb")
	if err := correct(t.Context(), "../..", to); err != nil {
		t.Fatal(err)
	}
	corrected := map[string]string{
		"internal/goexec/execcode.go":         "func (w *jupyterStackTraceMapperWriter) explain(",
		"internal/goexec/composer.go":         "var tmpCursor Cursor",
		"internal/goexec/gonberror.go":        `parsed.CellInfo + ": "`,
		"internal/goexec/goplsclient/exec.go": `"-listen.timeout"`,
		"internal/jpyexec/jpyexec.go":         "go exec.watchInput(",
		"internal/dispatcher/dispatcher.go":   "Interrupted.Store(true)",
	}
	for name, want := range corrected {
		data, err := os.ReadFile(filepath.Join(to, name))
		if err != nil || !strings.Contains(string(data), want) {
			t.Errorf("%s holds no %q (%v)", name, want, err)
		}
	}
	if out, err := exec.CommandContext(t.Context(), "gofmt", "-l", to).CombinedOutput(); err != nil || strings.Contains(string(out), "goexec/execcode.go") {
		t.Errorf("gofmt: %v\n%s", err, out)
	}
}

func TestCorrectRefusesOtherVersions(t *testing.T) {
	old := corrections
	defer func() { corrections = old }()
	corrections = []byte(strings.Replace(string(old), "-		tmpCursor, fileToCellIdAndLine :=", "-		tmpCursor, other :=", 1))
	err := correct(t.Context(), "../..", filepath.Join(t.TempDir(), "gonb"))
	if err == nil || !strings.Contains(err.Error(), "another version of GoNB") || !strings.Contains(err.Error(), "composer.go") {
		t.Errorf("a patch that does not fit: %v", err)
	}
}

func TestBuildSaysWhatFailed(t *testing.T) {
	if err := Build(t.Context(), t.TempDir(), t.TempDir()); err == nil || !strings.Contains(err.Error(), "build the kernel's programs: go mod download") {
		t.Errorf("a folder without sources: %v", err)
	}
}
