package headless

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/budgetmem/budgetmem/internal/atomicfile"
	"github.com/budgetmem/budgetmem/internal/venv"
	"github.com/budgetmem/budgetmem/kernel/notebook"
)

//go:embed export.py
var export string

// ExportHTML replaces the file at path by an HTML page of the notebook, which needs no other file and no network. Images of
// text cells are looked up from the folder dir. Formulas stay as they are written.
func ExportHTML(ctx context.Context, nb *notebook.Notebook, path, dir string) error {
	python, err := venv.Program("python")
	if err != nil {
		return fmt.Errorf("export %s: %w", path, err)
	}
	data, err := nb.Format()
	if err != nil {
		return fmt.Errorf("export %s: %w", path, err)
	}
	title := strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
	cmd := exec.CommandContext(ctx, python, "-c", export, title, dir)
	cmd.WaitDelay = time.Second
	cmd.Stdin = bytes.NewReader(data)
	log := newLog()
	cmd.Stderr = log
	page, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("export %s: %w: %s", path, err, log.Lines(3))
	}
	return atomicfile.WriteFile(path, page, 0o644)
}
