package tools

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	"github.com/budgetmem/budgetmem/internal/venv"
)

const module = "github.com/budgetmem/budgetmem"

// Source returns a folder with the sources of this module: one above the executable or the working folder, or else, for a
// program that `go install` has built, the module cache's, which is filled if need be.
func Source(ctx context.Context) (string, error) {
	if found := venv.Above(func(dir string) bool { return IsSource(dir) == nil }); len(found) > 0 {
		return found[0], nil
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Path != module || !strings.HasPrefix(info.Main.Version, "v") {
		return "", errors.New("no sources of this module: they are looked for in a folder above the program and above the working folder; run this there")
	}
	out, err := run(ctx, os.TempDir(), "mod", "download", "-json", module+"@"+info.Main.Version)
	if err != nil {
		return "", fmt.Errorf("get the sources of this module: %w", err)
	}
	var got struct{ Dir string }
	if err := json.Unmarshal(out, &got); err != nil {
		return "", fmt.Errorf("get the sources of this module: %w", err)
	}
	return got.Dir, IsSource(got.Dir)
}

// IsSource says what is wrong with a folder that is to have the sources of this module; nil if it has.
func IsSource(dir string) error {
	f, err := os.Open(filepath.Join(dir, "go.mod"))
	if err != nil {
		return err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if lines.Text() == "module "+module {
			return nil
		}
	}
	return fmt.Errorf("%s is not the module %s", f.Name(), module)
}
