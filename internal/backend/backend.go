// Package backend opens the engine that tensors are computed on: XLA on CUDA, XLA on the CPU, or pure Go.
//
// XLA is loaded at run time from a PJRT plugin, a shared library that `make setup` puts into the project's .venv. Plugins says
// where it is looked for: never in the working folder, and never where other users can write. A plugin is opened by its
// absolute path, so nothing is downloaded (GoMLX installs plugins by itself only if one is requested by name). This package
// changes no environment variable; go-xla sets TF_CPP_MIN_LOG_LEVEL if it is unset, and for CUDA sometimes XLA_FLAGS. XLA needs
// cgo; a binary built with CGO_ENABLED=0 has the pure-Go backend alone.
package backend

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/gobackend"
)

// Env names the environment variable that is read when Open gets an empty spec.
const Env = "BUDGETMEM_BACKEND"

// Kind says what a backend or plugin runs on.
type Kind string

// The kinds of backend.
const (
	Go   Kind = "go"
	CPU  Kind = "xla:cpu"
	CUDA Kind = "xla:cuda"
)

// Specs lists what Open accepts, for help texts.
const Specs = "auto, go, xla:cpu, xla:cuda or xla:/path/to/plugin.so"

// goOptions runs the operations of a graph one after the other. Each is parallel inside, and running several at once as
// well made them compete for the cores.
const goOptions = "ops_sequential"

// Backend is an open engine. Call Finalize when done with it and all that was computed on it.
type Backend struct {
	compute.Backend
	// Kind is what it runs on.
	Kind Kind
	// Plugin is the absolute path of the PJRT plugin; "" for pure Go.
	Plugin string
	// Why says in a few words how this backend came to be chosen.
	Why string
}

// Unwrap returns the engine itself.
func (b *Backend) Unwrap() compute.Backend { return b.Backend }

// Open opens the backend that spec asks for: one of Specs, or "" for the value of Env, or auto if that is empty too.
// auto takes CUDA if a device and a plugin are there, else XLA on the CPU if a plugin is there, else pure Go, and then
// logs one line that it is slower. Options of GoMLX may follow a spec, as in "xla:cuda,preallocate=true".
//
// An unknown spec, a plugin that is missing, and one that does not load are errors; auto falls through to the next choice
// instead and logs why. A nil log means slog.Default.
func Open(spec string, log *slog.Logger) (*Backend, error) {
	if log == nil {
		log = slog.Default()
	}
	source := "asked for"
	if spec == "" {
		spec, source = os.Getenv(Env), "asked for by "+Env
	}
	name, options := splitSpec(spec)
	switch name {
	case "", "auto":
		return openAuto(options, log)
	case string(Go):
		return openGo(options, source)
	case string(CPU), string(CUDA):
		p, err := find(Kind(name))
		if err != nil {
			return nil, err
		}
		return openPlugin(p, options, source)
	}
	if err := Check(spec); err != nil {
		return nil, err
	}
	path := strings.TrimPrefix(name, "xla:")
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("find backend plugin %q: %w", path, err)
	}
	if _, err := os.Stat(abs); err != nil {
		return nil, fmt.Errorf("find backend plugin %q: %w", path, err)
	}
	return openPlugin(Plugin{Path: abs, Kind: kindOf(abs)}, options, source)
}

// Check refuses a spec of an unknown form, before anything is opened.
func Check(spec string) error {
	name, _ := splitSpec(cmp.Or(spec, os.Getenv(Env)))
	if slices.Contains([]string{"", "auto", string(Go), string(CPU), string(CUDA)}, name) {
		return nil
	}
	if path, ok := strings.CutPrefix(name, "xla:"); !ok || !strings.ContainsAny(path, `/\.`) {
		return fmt.Errorf("unknown backend %q: valid are %s", name, Specs)
	}
	return nil
}

// splitSpec takes the options off a spec. A path may hold commas itself, so there they start after the file's name.
func splitSpec(spec string) (name, options string) {
	from := max(0, strings.LastIndexByte(spec, '/'))
	if i := strings.IndexByte(spec[from:], ','); i >= 0 {
		return spec[:from+i], spec[from+i+1:]
	}
	return spec, ""
}

// openAuto opens the fastest backend that works here.
func openAuto(options string, log *slog.Logger) (*Backend, error) {
	if !hasXLA {
		log.Warn("this binary was built without cgo, so it computes in pure Go, which is slower")
		return openGo(options, "built without cgo")
	}
	var tried []error
	plugins := Plugins()
	for _, kind := range []Kind{CUDA, CPU} {
		for _, p := range plugins {
			if p.Kind != kind || kind == CUDA && !hasNVIDIA() {
				continue
			}
			if p.Problem != "" {
				log.Warn("an XLA plugin is not loaded", "why", p.Problem)
				tried = append(tried, errors.New(p.Problem))
				continue
			}
			b, err := openPlugin(p, options, "found by auto in "+p.From)
			if err == nil {
				return b, nil
			}
			log.Warn("an XLA plugin was found but did not open", "error", err)
			tried = append(tried, err)
		}
	}
	if len(tried) == 0 {
		log.Warn("no XLA plugin found, so this computes in pure Go, which is slower; `make setup` installs one")
		return openGo(options, "no XLA plugin found")
	}
	log.Warn("computing in pure Go, which is slower")
	return openGo(options, "no XLA plugin opened: "+errors.Join(tried...).Error())
}

func openGo(options, why string) (*Backend, error) {
	if options == "" {
		options = goOptions
	}
	b, err := gobackend.New(options)
	if err != nil {
		return nil, fmt.Errorf("open the pure-Go backend: %w", err)
	}
	return &Backend{Backend: b, Kind: Go, Why: why}, nil
}

func openPlugin(p Plugin, options, why string) (*Backend, error) {
	path, remove, err := plainPath(p)
	if err != nil {
		return nil, fmt.Errorf("open XLA plugin %s: %w", p.Path, err)
	}
	defer remove()
	config := path
	if options != "" {
		config += "," + options
	}
	if err := probe(path); err != nil {
		return nil, fmt.Errorf("open XLA plugin %s: %w", p.Path, err)
	}
	b, err := openXLA(config, p.Kind)
	if err != nil {
		return nil, fmt.Errorf("open XLA plugin %s: %w", p.Path, err)
	}
	return &Backend{Backend: b, Kind: p.Kind, Plugin: p.Path, Why: why}, nil
}

// plainPath returns a path to open p by. GoMLX guesses from the whole path what a plugin runs on, so that one in
// /home/nvidia/ would be taken for CUDA, and it ends the path at the first comma. A CPU plugin at such a path is opened
// through a temporary link of a plain name. remove deletes the link, which an open library no longer needs.
func plainPath(p Plugin) (path string, remove func(), err error) {
	lower := strings.ToLower(p.Path)
	plain := strings.Contains(lower, "cpu") && !strings.Contains(lower, "cuda") && !strings.Contains(lower, "nvidia")
	comma := strings.Contains(p.Path, ",")
	switch {
	case !comma && (plain || p.Kind != CPU):
		return p.Path, func() {}, nil
	case p.Kind != CPU:
		return "", nil, errors.New("its path holds a comma, which separates options: move it")
	}
	dir, err := os.MkdirTemp("", "bmem-pjrt-")
	if err != nil {
		return "", nil, fmt.Errorf("make a folder for a link to it: %w", err)
	}
	remove = func() { _ = os.RemoveAll(dir) }
	path = filepath.Join(dir, "cpu.so")
	if err := os.Symlink(p.Path, path); err != nil {
		remove()
		return "", nil, err
	}
	return path, remove, nil
}
