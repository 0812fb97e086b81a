// Package notebook reads and writes notebooks in their two forms: Jupyter's .ipynb (nbformat 4.5), and Go scripts whose
// cells start at lines //%%. It knows what a notebook declares: parameters, and the outputs that it must show.
package notebook

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/budgetmem/budgetmem/internal/atomicfile"
)

// Kernel is the name of the kernel that runs notebooks which name none.
const Kernel = "budgetmem"

// Notebook is a list of cells.
type Notebook struct {
	Cells []Cell
	// Metadata of the whole notebook, such as the kernel under kernelspec.
	Metadata Object
	// minor is the nbformat 4.x that it is written in, 5 or newer.
	minor int
	// extra holds fields that nbformat 4.5 does not know.
	extra Object
}

// Kind says what a cell holds.
type Kind string

// The kinds of cells.
const (
	Code     Kind = "code"
	Markdown Kind = "markdown"
	Raw      Kind = "raw"
)

// Cell is one cell.
type Cell struct {
	Kind Kind
	// ID is unique in the notebook: 1 to 64 letters, digits, - and _.
	ID       string
	Source   string
	Metadata Object
	// Attachments holds the files that belong to a text cell, as nbformat has them; nil if there are none.
	Attachments Object
	// Outputs of a code cell, and the number that the kernel gave its last execution; 0 if there was none.
	Outputs []Output
	Count   int
	// Line is the line of the script, from 1, that holds the first line of Source; 0 if it comes from elsewhere.
	Line int

	extra Object
}

// Object is a JSON object whose values are kept as they were read.
type Object map[string]jsontext.Value

// New returns a notebook for the project's kernel.
func New(cells ...Cell) *Notebook {
	nb := &Notebook{Cells: cells, Metadata: defaults(), minor: minor}
	nb.identify()
	return nb
}

// defaults returns the metadata of a notebook that says nothing else.
func defaults() Object {
	return Object{
		"kernelspec":    jsontext.Value(`{"display_name":"BudgetMem (Go)","language":"go","name":"` + Kernel + `"}`),
		"language_info": jsontext.Value(`{"file_extension":".go","mimetype":"text/x-go","name":"go"}`),
	}
}

// ReadFile reads a notebook from a file: a script if its name ends in .go, else .ipynb.
func ReadFile(path string) (*Notebook, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read notebook: %w", err)
	}
	parse := Parse
	if IsScript(path) {
		parse = ParseScript
	}
	nb, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return nb, nil
}

// WriteFile replaces the file at path by nb: by a script, without outputs, if its name ends in .go, else by .ipynb.
func WriteFile(path string, nb *Notebook) error {
	form := (*Notebook).Format
	if IsScript(path) {
		form = (*Notebook).Script
	}
	data, err := form(nb)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return atomicfile.WriteFile(path, data, 0o644)
}

// IsScript reports whether a file is a script by its name.
func IsScript(path string) bool { return filepath.Ext(path) == ".go" }

// KernelName returns the name of the kernel that the notebook asks for, else Kernel.
func (nb *Notebook) KernelName() string {
	var spec struct {
		Name string `json:"name"`
	}
	if err := json.Unmarshal(nb.Metadata["kernelspec"], &spec); err != nil || spec.Name == "" {
		return Kernel
	}
	return spec.Name
}

// Tags returns the cell's tags.
func (c *Cell) Tags() []string {
	var tags []string
	if raw, ok := c.Metadata["tags"]; ok {
		_ = json.Unmarshal(raw, &tags) // checked when it was read
	}
	return tags
}

// tagged returns the index of the first code cell with a tag, -1 if there is none.
func (nb *Notebook) tagged(tag string) int {
	return slices.IndexFunc(nb.Cells, func(c Cell) bool { return c.Kind == Code && slices.Contains(c.Tags(), tag) })
}

// ClearOutputs drops what executions left: outputs and numbers.
func (nb *Notebook) ClearOutputs() {
	for i := range nb.Cells {
		nb.Cells[i].Outputs, nb.Cells[i].Count = nil, 0
	}
}

// KeepOutputs takes over outputs, numbers and IDs from the cells of old whose source is unchanged, each once, in their
// order.
func (nb *Notebook) KeepOutputs(old *Notebook) {
	type content struct {
		kind   Kind
		source string
	}
	left := map[content][]Cell{}
	for _, c := range old.Cells {
		key := content{c.Kind, c.Source}
		left[key] = append(left[key], c)
	}
	for i := range nb.Cells {
		c := &nb.Cells[i]
		key := content{c.Kind, c.Source}
		if same := left[key]; len(same) > 0 {
			left[key] = same[1:]
			c.ID, c.Outputs, c.Count = same[0].ID, same[0].Outputs, same[0].Count
		}
	}
	nb.identify()
}

// identify gives an ID to cells without one, and another one to those whose ID an earlier cell has.
func (nb *Notebook) identify() {
	used := map[string]bool{}
	for i := range nb.Cells {
		c := &nb.Cells[i]
		if c.ID == "" || used[c.ID] {
			c.ID = deriveID(c, used)
		}
		used[c.ID] = true
	}
}

// deriveID makes an ID from what a cell holds, so that it is the same each time, other than those used by earlier cells.
func deriveID(c *Cell, used map[string]bool) string {
	for n := 0; ; n++ {
		id := fmt.Sprintf("%.4x", sha256.Sum256(fmt.Appendf(nil, "%s %d %s", c.Kind, n, c.Source)))
		if !used[id] {
			return id
		}
	}
}
