// Package doctor looks at what BudgetMem needs of a machine: program, compute backend, models, data, memory and disk. It
// measures how fast the backend is, and says what to do about each thing that is missing.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/budgetmem/budgetmem/bmem/setup"
	"github.com/budgetmem/budgetmem/datasets"
	"github.com/budgetmem/budgetmem/internal/backend"
	"github.com/budgetmem/budgetmem/internal/models"
	"github.com/budgetmem/budgetmem/serve/api"
)

// Report is what was found. A zero Memory or Disk number means that this system does not tell.
type Report struct {
	Program Program          `json:"program"`
	Backend Backend          `json:"backend"`
	Plugins []backend.Plugin `json:"plugins"`
	Models  []Model          `json:"models"`
	Data    []Data           `json:"data"`
	// Memory and Disk are in bytes; Disk is where models are kept.
	MemoryFree uint64 `json:"memory_free"`
	DiskFree   uint64 `json:"disk_free"`
	ModelsDir  string `json:"models_dir"`
	Speed      Speed  `json:"speed"`
	// Server is what runs at serve.DefaultAddr, with the shapes that its models are compiled for; nil if nothing does.
	Server *api.Health `json:"server,omitempty"`
	// Problems lists what is wrong, the necessary things first.
	Problems []Problem `json:"problems"`
}

// Program is how this program was built.
type Program struct {
	Go   string `json:"go"`
	OS   string `json:"os"`
	Arch string `json:"arch"`
	CPUs int    `json:"cpus"`
	// SIMD: the pure-Go backend uses Go's SIMD packages. CGO: XLA can be used.
	SIMD bool `json:"simd"`
	CGO  bool `json:"cgo"`
}

// Backend is the backend in use; Kind is "" if none opened.
type Backend struct {
	Kind   backend.Kind `json:"kind"`
	Plugin string       `json:"plugin,omitempty"`
	Why    string       `json:"why"`
}

// Model is a model of the catalogue.
type Model struct {
	Name  string `json:"name"`
	Kind  string `json:"kind"`
	State string `json:"state"` // Here, Missing or Damaged
	Path  string `json:"path,omitempty"`
	// SHA256 is that of the weights, checked when they are here; it is the largest file's.
	SHA256 string `json:"sha256"`
	Bytes  int64  `json:"bytes"`
}

// The states of a model.
const (
	Here    = "here"
	Missing = "missing"
	Damaged = "damaged"
)

// Data is a data set.
type Data struct {
	Name    string   `json:"name"`
	Splits  []string `json:"splits"`            // those that can be read
	Missing []string `json:"missing,omitempty"` // what to do about the others
}

// Problem is a thing that is missing or wrong.
type Problem struct {
	What string `json:"what"`
	Do   string `json:"do"`
	// Necessary: nothing can be answered without it.
	Necessary bool `json:"necessary"`
}

// Less than this is too little for the 0.5B model and its caches, or for pulling the default models.
const (
	memoryWanted = 4 << 30
	diskWanted   = 2 << 30
)

// Check looks at this machine. spec chooses the backend as in backend.Open. What is missing becomes a Problem; an error
// means that the looking itself failed.
func Check(ctx context.Context, spec string, log *slog.Logger) (Report, error) {
	r := Report{Program: program(), Plugins: backend.Plugins(), MemoryFree: MemoryFree()}
	if !r.Program.CGO {
		r.advise("this program was built without cgo, so it cannot use XLA", "install gcc and build it with CGO_ENABLED=1")
	}
	catalogue, err := models.Open()
	if err != nil {
		return r, err
	}
	r.ModelsDir, r.DiskFree = catalogue.Dir, diskFree(catalogue.Dir)
	if err := r.models(ctx, catalogue); err != nil {
		return r, err
	}
	r.data()
	r.server(ctx)
	if r.MemoryFree > 0 && r.MemoryFree < memoryWanted {
		r.advise("little memory is free", "close other programs, or answer with --model smollm2-135m-instruct")
	}
	if r.DiskFree > 0 && r.DiskFree < diskWanted {
		r.advise("little disk space is free in "+r.ModelsDir, "make room, or set "+models.EnvDir+" to a folder elsewhere")
	}
	be, err := backend.Open(spec, log)
	if err != nil {
		r.need(err.Error(), "name another backend: "+backend.Specs)
		return r, nil
	}
	defer be.Finalize()
	r.Backend = Backend{be.Kind, be.Plugin, be.Why}
	if be.Kind == backend.Go {
		what := "computing in pure Go, which is slower than XLA"
		if !r.Program.SIMD {
			what += ", and without Go's SIMD packages"
		}
		r.advise(what, "run `make setup`, which installs the plugin and builds with SIMD")
	}
	if err := r.measure(ctx, be); err != nil {
		r.need("the backend does not work: "+err.Error(), "name another backend by "+backend.Env+": "+backend.Specs)
	}
	return r, ctx.Err()
}

// OK reports whether everything necessary is there.
func (r Report) OK() bool { return len(r.Problems) == 0 || !r.Problems[0].Necessary }

func (r *Report) need(what, do string) {
	r.Problems = append([]Problem{{what, do, true}}, r.Problems...)
}

func (r *Report) advise(what, do string) {
	r.Problems = append(r.Problems, Problem{what, do, false})
}

func program() Program {
	p := Program{Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.NumCPU()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return p
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "CGO_ENABLED":
			p.CGO = s.Value == "1"
		case "GOEXPERIMENT":
			p.SIMD = strings.Contains(","+s.Value+",", ",simd,")
		}
	}
	return p
}

// models looks at every model of the catalogue. Hashes of files that have not changed since are remembered.
func (r *Report) models(ctx context.Context, catalogue *models.Catalogue) error {
	answering := false
	for _, m := range catalogue.Models {
		row := Model{Name: m.Name, Kind: m.Kind, State: Here, Bytes: m.Size()}
		var largest int64
		for _, f := range m.Files {
			if f.Size > largest {
				largest, row.SHA256 = f.Size, f.SHA256
			}
		}
		var err error
		row.Path, err = catalogue.Path(ctx, m.Name)
		var damaged *models.HashError
		switch {
		case errors.Is(err, models.ErrMissing):
			row.State = Missing
		case errors.As(err, &damaged):
			row.State = Damaged
			r.advise("model "+m.Name+" is damaged", "run `bmem models pull "+m.Name+"`")
		case err != nil:
			return err
		}
		answering = answering || m.Kind != "embedder" && row.State == Here
		if m.Name == setup.Embedder && row.State != Here {
			r.need("no embedder: "+m.Name+" is "+row.State, "run `bmem models pull "+m.Name+"`")
		}
		r.Models = append(r.Models, row)
	}
	if !answering {
		r.advise("no model that answers questions is here", "run `bmem models pull`, or answer at an endpoint (--endpoint)")
	}
	return nil
}

// server looks for a running server; that there is none is no problem.
func (r *Report) server(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if h, err := api.GetHealth(ctx, api.DefaultAddr, os.Getenv(api.EnvToken)); err == nil {
		r.Server = &h
	}
}

// data checks the data sets. Only a broken shipped file is a problem.
func (r *Report) data() {
	for _, name := range datasets.Names() {
		info, err := datasets.Describe(name, datasets.Options{})
		if err != nil {
			r.need(fmt.Sprintf("data set %s: %v", name, err), "get the program's sources again and build it")
			continue
		}
		d := Data{Name: name}
		for _, s := range info.Splits {
			if s.Missing == "" {
				d.Splits = append(d.Splits, string(s.Split))
			} else {
				d.Missing = append(d.Missing, fmt.Sprintf("%s: %s", s.Split, s.Missing))
			}
		}
		r.Data = append(r.Data, d)
	}
}
