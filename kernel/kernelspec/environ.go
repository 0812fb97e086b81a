package kernelspec

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/budgetmem/budgetmem/internal/venv"
)

// environ returns the environment of a kernel, derived from its parent's, in the form of os.Environ. The kernel's programs are on
// PATH. Cells build quickly: from what set-up compiled, without asking a module proxy for what is in the module cache, and
// without debugging tables, which stack traces do not need.
func (s Spec) environ(ctx context.Context, parent []string) ([]string, error) {
	env := slices.DeleteFunc(slices.Clone(parent), func(kv string) bool {
		return strings.HasPrefix(kv, "GOWORK=") // GoNB has a workspace of its own
	})
	set := func(name, value string) { env = append(env, name+"="+value) } // the last of two counts
	set("PATH", strings.Join(slices.DeleteFunc([]string{s.Tools, lookup(env, "PATH"), s.Go}, func(p string) bool { return p == "" }), string(os.PathListSeparator)))

	if folders := venv.Folders(); lookup(env, venv.Env) == "" && len(folders) > 0 {
		// A cell's program lies in a temporary folder, with no environment beside it.
		set(venv.Env, folders[0])
	}
	set("BUDGETMEM_HOME", s.Source) // where experiments/lab finds traces and runs

	settings, err := s.goEnv(ctx, env)
	if err != nil {
		return nil, err
	}
	if lookup(env, "GOEXPERIMENT") == "" {
		// With other experiments everything would be compiled again.
		set("GOEXPERIMENT", buildSetting("GOEXPERIMENT"))
	}
	if !strings.Contains(settings.GOFLAGS, "-ldflags") {
		set("GOFLAGS", strings.TrimSpace(settings.GOFLAGS+" '-ldflags=-s -w'"))
	}
	// Before every cell GoNB has `go get` look for newer versions. The module cache can be read as a proxy is.
	set("GOPROXY", "file://"+filepath.ToSlash(filepath.Join(settings.GOMODCACHE, "cache", "download"))+","+settings.GOPROXY)
	return env, nil
}

type goSettings struct{ GOFLAGS, GOMODCACHE, GOPROXY string }

func (s Spec) goEnv(ctx context.Context, env []string) (g goSettings, err error) {
	out, err := s.goCommand(ctx, env, os.TempDir(), "env", "-json", "GOFLAGS", "GOMODCACHE", "GOPROXY")
	if err == nil {
		err = json.Unmarshal(out, &g)
	}
	if err != nil {
		return g, fmt.Errorf("ask go for its settings: %w", err)
	}
	return g, nil
}

// goCommand runs go in an environment and returns what it prints.
func (s Spec) goCommand(ctx context.Context, env []string, dir string, args ...string) ([]byte, error) {
	path, err := find("go", lookup(env, "PATH"))
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir, cmd.Env = dir, env
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, nil
}

// find looks a program up in a list of folders, which may differ from this process's PATH.
func find(name, path string) (string, error) {
	for _, dir := range filepath.SplitList(path) {
		file := filepath.Join(dir, name)
		if info, err := os.Stat(file); err == nil && !info.IsDir() && info.Mode()&0o111 != 0 {
			return file, nil
		}
	}
	return "", fmt.Errorf("program %s is on no folder of %q", name, path)
}

func lookup(env []string, name string) string {
	for _, kv := range slices.Backward(env) {
		if value, ok := strings.CutPrefix(kv, name+"="); ok {
			return value
		}
	}
	return ""
}

// buildSetting returns a setting of this program's build.
func buildSetting(name string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == name {
			return s.Value
		}
	}
	return ""
}
