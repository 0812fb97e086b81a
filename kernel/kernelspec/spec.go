// Package kernelspec is the notebook kernel "BudgetMem (Go)" as Jupyter sees it: the description in Jupyter's data folder, the
// program that Jupyter starts, and a check of what it needs.
//
// The kernel is GoNB, which makes a Go program of each cell. It works in a workspace with the sources of this module, so every
// notebook can import its packages. The models that cells ask run in the server that notebooks share: see serve/registry.
package kernelspec

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/budgetmem/budgetmem/internal/atomicfile"
	"github.com/budgetmem/budgetmem/internal/venv"
	"github.com/budgetmem/budgetmem/kernel/notebook"
)

// Name identifies the kernel in notebooks, DisplayName is what users see.
const (
	Name        = notebook.Kernel
	DisplayName = "BudgetMem (Go)"
)

// Spec lists the parts of the kernel. All paths are absolute.
type Spec struct {
	// Bmem is the program bmem, which launches the kernel.
	Bmem string
	// Tools is the folder with GoNB, goimports and gopls.
	Tools string
	// Source is the folder with this module's sources.
	Source string
	// Go is the folder of the program go, for a Jupyter that is started without it on its PATH.
	Go string
}

// file is a kernel.json.
type file struct {
	Argv          []string       `json:"argv"`
	DisplayName   string         `json:"display_name"`
	Language      string         `json:"language"`
	InterruptMode string         `json:"interrupt_mode"`
	Metadata      map[string]any `json:"metadata"`
}

// Flags of `bmem kernel launch`, with which a kernel.json names the parts of the kernel.
const (
	flagTools  = "--tools"
	flagSource = "--source"
	flagGo     = "--go"
)

// connection is Jupyter's placeholder for the file with the kernel's ports.
const connection = "{connection_file}"

// Install writes the description into Jupyter's data folder, such as UserDir or PrefixDir, and returns its path.
func Install(dir string, s Spec) (path string, err error) {
	data, err := json.MarshalIndent(file{
		Argv:        []string{s.Bmem, "kernel", "launch", flagTools, s.Tools, flagSource, s.Source, flagGo, s.Go, connection},
		DisplayName: DisplayName, Language: "go", InterruptMode: "message", Metadata: map[string]any{"debugger": false},
	}, "", "  ")
	if err != nil {
		return "", fmt.Errorf("describe the kernel: %w", err)
	}
	path = Path(dir)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", fmt.Errorf("install the kernel: %w", err)
	}
	return path, atomicfile.WriteFile(path, append(data, '\n'), 0o644)
}

// Uninstall removes the kernel's folder from Jupyter's data folder.
func Uninstall(dir string) error {
	if _, err := read(dir); err != nil {
		return fmt.Errorf("uninstall the kernel: %w", err)
	}
	return os.RemoveAll(filepath.Dir(Path(dir)))
}

// Path is the path of the description in Jupyter's data folder.
func Path(dir string) string { return filepath.Join(dir, "kernels", Name, "kernel.json") }

// read reads a description that Install has written.
func read(dir string) (Spec, error) {
	path := Path(dir)
	data, err := os.ReadFile(path)
	if err != nil {
		return Spec{}, fmt.Errorf("read the kernel's description: %w", err)
	}
	var f file
	if err := json.Unmarshal(data, &f); err != nil {
		return Spec{}, fmt.Errorf("read the kernel's description %s: %w", path, err)
	}
	flag := func(name string) string {
		if i := slices.Index(f.Argv, name); i >= 0 && i+1 < len(f.Argv) {
			return f.Argv[i+1]
		}
		return ""
	}
	s := Spec{Tools: flag(flagTools), Source: flag(flagSource), Go: flag(flagGo)}
	if len(f.Argv) > 0 {
		s.Bmem = f.Argv[0]
	}
	if s.Tools == "" || s.Source == "" || !slices.Contains(f.Argv, connection) {
		return Spec{}, fmt.Errorf("%s does not start this kernel: run `bmem kernel install`", path)
	}
	return s, nil
}

// PrefixDir is the data folder of a Jupyter that is installed under a prefix, such as a Python environment.
func PrefixDir(prefix string) string { return filepath.Join(prefix, "share", "jupyter") }

// UserDir is Jupyter's data folder of the user.
func UserDir() (string, error) {
	if dir := os.Getenv("JUPYTER_DATA_DIR"); dir != "" {
		return dir, nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("no data folder of Jupyter (set JUPYTER_DATA_DIR): %w", err)
	}
	switch runtime.GOOS {
	case "darwin":
		return filepath.Join(home, "Library", "Jupyter"), nil
	case "windows":
		return filepath.Join(os.Getenv("APPDATA"), "jupyter"), nil
	}
	if dir := os.Getenv("XDG_DATA_HOME"); dir != "" {
		return filepath.Join(dir, "jupyter"), nil
	}
	return filepath.Join(home, ".local", "share", "jupyter"), nil
}

// dirs lists the data folders that Jupyter looks into here, in its order: those of JUPYTER_PATH, the user's, and those of the
// Python environments of the project.
func dirs() []string {
	var dirs []string
	for _, dir := range filepath.SplitList(os.Getenv("JUPYTER_PATH")) {
		if dir != "" {
			dirs = append(dirs, dir)
		}
	}
	if dir, err := UserDir(); err == nil {
		dirs = append(dirs, dir)
	}
	for _, folder := range venv.Folders() {
		dirs = append(dirs, PrefixDir(folder))
	}
	return dirs
}

// ErrNotInstalled is returned by Find if no description is there.
var ErrNotInstalled = errors.New("the kernel is not installed: run `bmem kernel install`")

// Find returns the first data folder of dirs that has the kernel, and the kernel's parts.
func Find() (dir string, s Spec, err error) {
	for _, dir := range dirs() {
		s, err := read(dir)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		return dir, s, err
	}
	return "", Spec{}, ErrNotInstalled
}
