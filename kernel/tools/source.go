package tools

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"

	"github.com/budgetmem/budgetmem/internal/venv"
)

const module = "github.com/budgetmem/budgetmem"

// Source returns a folder with the sources of this module, which cells are compiled with: the checkout that the executable
// lies in, or else, for a program that `go install` has built, the module cache's, which is filled if necessary. The
// working folder does not count, as it may be anybody's.
func Source(ctx context.Context) (string, error) {
	if dir, ok := venv.Checkout(); ok {
		return dir, nil
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Path != module || !strings.HasPrefix(info.Main.Version, "v") {
		return "", errors.New("no sources of this module above this program: name their folder with --source")
	}
	out, err := run(ctx, os.TempDir(), "mod", "download", "-json", module+"@"+info.Main.Version)
	if err != nil {
		return "", fmt.Errorf("get the sources of this module: %w", err)
	}
	var got struct{ Dir string }
	if err := json.Unmarshal(out, &got); err != nil {
		return "", fmt.Errorf("get the sources of this module: %w", err)
	}
	return got.Dir, venv.IsSource(got.Dir)
}
