package backend

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/budgetmem/budgetmem/internal/venv"
)

// Environment variables that say where plugins are.
const (
	// envPlugin is a plugin's file, or a folder of plugins.
	envPlugin = "BUDGETMEM_PJRT"
	// envPluginPath is GoMLX's and JAX's own: files or folders, separated by the system's list separator.
	envPluginPath = "PJRT_PLUGIN_LIBRARY_PATH"
)

// Plugin is a PJRT plugin on disk.
type Plugin struct {
	Path string `json:"path"`
	Kind Kind   `json:"kind"`
	// From says where it was found.
	From string `json:"from"`
	// Problem says why it is not loaded: other users can change it. It is "" for one that is.
	Problem string `json:"problem,omitempty"`
}

// Plugins lists the plugins of this machine in the order of the places they are looked for in: BUDGETMEM_PJRT;
// PJRT_PLUGIN_LIBRARY_PATH; the Python environments of venv.Folders; and the two folders that GoMLX's own installer uses. The
// working folder is none of them.
func Plugins() []Plugin {
	var found []Plugin
	seen := map[string]bool{}
	add := func(from string, patterns ...string) {
		for _, pattern := range patterns {
			paths, _ := filepath.Glob(pattern) // a bad pattern finds nothing, which is right for an odd folder name
			for _, path := range paths {
				abs, err := filepath.Abs(path)
				if info, statErr := os.Stat(path); err != nil || statErr != nil || info.IsDir() || seen[abs] {
					continue
				}
				seen[abs] = true
				p := Plugin{Path: abs, Kind: kindOf(abs), From: from}
				if err := venv.Trusted(abs); err != nil {
					p.Problem = err.Error()
				}
				found = append(found, p)
			}
		}
	}
	if path := os.Getenv(envPlugin); path != "" {
		add(envPlugin, fileOrFolder(path)...)
	}
	for _, path := range filepath.SplitList(os.Getenv(envPluginPath)) {
		if path != "" {
			add(envPluginPath, fileOrFolder(path)...)
		}
	}
	for _, folder := range venv.Folders() {
		packages := filepath.Join(folder, "lib", "python*", "site-packages")
		add(folder,
			filepath.Join(packages, "*", "pjrt_c_api_*_plugin.so"),
			filepath.Join(packages, "xla_plugins", "*", "*pjrt*.so"),
			filepath.Join(packages, "jax_plugins", "xla_*", "xla_*_plugin.so"))
	}
	if home, err := os.UserHomeDir(); err == nil {
		add("GoMLX's folder", inFolder(filepath.Join(home, ".local", "lib", "go-xla"))...)
	}
	add("GoMLX's folder", inFolder("/usr/local/lib/go-xla")...)
	return found
}

// find returns the first plugin of a kind that may be loaded.
func find(kind Kind) (Plugin, error) {
	var refused []string
	for _, p := range Plugins() {
		switch {
		case p.Kind != kind:
		case p.Problem == "":
			return p, nil
		default:
			refused = append(refused, p.Problem)
		}
	}
	if refused != nil {
		return Plugin{}, fmt.Errorf("no PJRT plugin for backend %q may be loaded: %s", kind, strings.Join(refused, "; "))
	}
	return Plugin{}, fmt.Errorf("no PJRT plugin for backend %q found: run `make setup`, or name its file in %s", kind, envPlugin)
}

func fileOrFolder(path string) []string {
	if isDir(path) {
		return inFolder(path)
	}
	return []string{path}
}

func inFolder(dir string) []string {
	return []string{
		filepath.Join(dir, "pjrt_c_api_*_plugin.so"),
		filepath.Join(dir, "xla_*_plugin.so"),
		filepath.Join(dir, "pjrt_c_api_*_plugin.dylib"),
	}
}

// kindOf returns a plugin's kind by its file name, as GoMLX does.
func kindOf(path string) Kind {
	name := strings.ToLower(filepath.Base(path))
	switch {
	case strings.Contains(name, "cuda"):
		return CUDA
	case strings.Contains(name, "rocm"):
		return "xla:rocm"
	}
	return CPU
}

// hasNVIDIA reports whether the machine shows an NVIDIA device: a device file, or the one of Windows' Linux subsystem.
func hasNVIDIA() bool {
	devices, _ := filepath.Glob("/dev/nvidia[0-9]*")
	if len(devices) > 0 {
		return true
	}
	_, err := os.Stat("/dev/dxg")
	return err == nil
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
