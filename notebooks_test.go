package budgetmem

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/budgetmem/budgetmem/kernel/notebook"
)

// The notebooks are kept as a run has left them: each shows what it declares, is small, and is a script as well. That they run
// is what `make notebooks` checks.
func TestNotebooksAreExecuted(t *testing.T) {
	const most = 1 << 20 // bytes: one copy of the charts' library, and the pictures
	files, err := filepath.Glob("notebooks/*.ipynb")
	if err != nil || len(files) < 7 {
		t.Fatalf("notebooks %q, %v", files, err)
	}
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			nb, err := notebook.Parse(data)
			if err != nil {
				t.Fatal(err)
			}
			if len(data) > most {
				t.Errorf("%d bytes, more than %d", len(data), most)
			}
			if bytes.Contains(data, []byte(root)) {
				t.Errorf("it shows where this machine keeps the project, %s", root)
			}
			if shows, err := nb.Shows(); err != nil || len(shows) == 0 {
				t.Errorf("declares to show %q, %v", shows, err)
			}
			if missing := nb.Missing(); len(missing) > 0 {
				t.Errorf("missing: %q", missing)
			}
			if parameters, err := nb.Parameters(); err != nil || len(parameters) == 0 {
				t.Errorf("parameters %v, %v", parameters, err)
			}
			for i, c := range nb.Cells {
				if c.Kind == notebook.Code && c.Count == 0 {
					t.Errorf("cell %d was not run", i+1)
				}
				for _, o := range c.Outputs {
					if o.Type() == notebook.Error {
						t.Errorf("cell %d failed", i+1)
					}
				}
			}
			script, err := nb.Script()
			if err != nil {
				t.Fatal(err)
			}
			back, err := notebook.ParseScript(script)
			if err != nil {
				t.Fatal(err)
			}
			for i, c := range back.Cells {
				if c.Source != nb.Cells[i].Source {
					t.Errorf("cell %d of its script is\n%s\nnot\n%s", i+1, c.Source, nb.Cells[i].Source)
				}
			}
		})
	}
}
