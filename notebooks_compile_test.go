package budgetmem

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/kernel/notebook"
)

// The cells of every notebook compile against the packages as they are. GoNB compiles each cell with the declarations of all
// cells before it, and the lines after %% as its main function. Here a notebook is one package, with a function for each main:
// it exists in an overlay only.
func TestNotebooksCompile(t *testing.T) {
	files, err := filepath.Glob("notebooks/*.ipynb")
	if err != nil || len(files) < 7 {
		t.Fatalf("notebooks %q, %v", files, err)
	}
	sources := map[string][]byte{}
	for _, file := range files {
		nb, err := notebook.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if sources[file], err = cellsAsPackage(file, nb); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := buildOverlay(t, sources); err != nil {
		t.Errorf("cells do not compile; change them with the packages that they use: %v\n%s", err, out)
	}
}

// The check finds what it is for: a name that is not there, a value of another type, a declaration without its cell.
func TestNotebookErrorsAreFound(t *testing.T) {
	for want, cells := range map[string][]string{
		"undefined: strings.Missing": {"import \"strings\"", "%%\nstrings.Missing()"},
		"cannot use":                 {"import \"strings\"\nvar n int", "!ls\n%%\nn = strings.ToUpper(\"a\")"},
		"undefined: later":           {"%%\nlater()"},
	} {
		nb := &notebook.Notebook{}
		for _, source := range cells {
			nb.Cells = append(nb.Cells, notebook.Cell{Kind: notebook.Code, Source: source})
		}
		data, err := cellsAsPackage("notebooks/x.ipynb", nb)
		if err != nil {
			t.Fatal(err)
		}
		out, err := buildOverlay(t, map[string][]byte{"notebooks/x.ipynb": data})
		if err == nil || !strings.Contains(out, want) || !strings.Contains(out, "x.ipynb, cell") {
			t.Errorf("cells %q: %v, %s; want %q in a cell of x.ipynb", cells, err, out, want)
		}
	}
}

// buildOverlay compiles packages that are not on the disk, one for each notebook.
func buildOverlay(t *testing.T, sources map[string][]byte) (string, error) {
	t.Helper()
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	replace := map[string]string{}
	args := []string{"build", "-overlay", filepath.Join(dir, "overlay.json")}
	for i, file := range slices.Sorted(func(yield func(string) bool) {
		for file := range sources {
			if !yield(file) {
				return
			}
		}
	}) {
		name := fmt.Sprintf("cells%d", i)
		path := filepath.Join(dir, name+".go")
		if err := os.WriteFile(path, sources[file], 0o644); err != nil {
			t.Fatal(err)
		}
		replace[filepath.Join(root, "notebooks", name, "cells.go")] = path
		args = append(args, "./notebooks/"+name)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "go", args...).CombinedOutput()
	return string(out), err
}

// cellsAsPackage is the Go source of a notebook's cells. Errors name the cell and the line in it.
func cellsAsPackage(file string, nb *notebook.Notebook) ([]byte, error) {
	var imports, body strings.Builder
	imported := map[string]bool{}
	used := map[string]bool{}
	var specs []*ast.ImportSpec
	for i, c := range nb.Cells {
		if c.Kind != notebook.Code {
			continue
		}
		place := fmt.Sprintf("%s, cell %d", filepath.Base(file), i+1)
		declarations, main, line := splitCell(c.Source)
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, place, "package p;"+declarations, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		specs = append(specs, f.Imports...)
		for _, d := range f.Decls {
			if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.IMPORT {
				continue
			}
			from, to := set.Position(d.Pos()), set.Position(d.End())
			fmt.Fprintf(&body, "//line %s:%d\n%s\n", place, from.Line, ("package p;" + declarations)[from.Offset:to.Offset])
		}
		fmt.Fprintf(&body, "func cell%d() {\n//line %s:%d\n%s\n}\nvar _ = cell%d\n", i+1, place, line, main, i+1)
	}
	// As in a cell, imports that nothing uses do not matter.
	set := token.NewFileSet()
	f, err := parser.ParseFile(set, file, "package p\n"+body.String(), parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	ast.Inspect(f, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok {
				used[x.Name] = true
			}
		}
		return true
	})
	for _, s := range specs {
		target, err := strconv.Unquote(s.Path.Value)
		if err != nil {
			return nil, err
		}
		name := path.Base(target)
		if s.Name != nil {
			name = s.Name.Name
		}
		if line := name + " " + s.Path.Value; used[name] && !imported[line] {
			imported[line] = true
			fmt.Fprintf(&imports, "import %s\n", line)
		}
	}
	return []byte("package cells\n" + imports.String() + body.String()), nil
}

// splitCell splits a cell into declarations and the lines after %%, which begin at the given line. Lines for the kernel or the
// shell are left empty.
func splitCell(source string) (declarations, main string, line int) {
	lines := strings.Split(source, "\n")
	at := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "%%") || l == "%main" })
	for i, l := range lines {
		if strings.HasPrefix(l, "%") || strings.HasPrefix(l, "!") {
			lines[i] = ""
		}
	}
	if at < 0 {
		return strings.Join(lines, "\n"), "", len(lines)
	}
	return strings.Join(lines[:at], "\n"), strings.Join(lines[at+1:], "\n"), at + 2
}
