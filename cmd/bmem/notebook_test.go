package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/internal/testenv"
	"github.com/budgetmem/budgetmem/kernel/notebook"
)

// testKernel lets Jupyter find the kernel "test", whose cells are Python, and returns an empty folder.
func testKernel(t *testing.T) string {
	t.Helper()
	python := testenv.Program(t, "python")
	script, err := filepath.Abs("../../kernel/headless/testdata/kernel.py")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	t.Setenv("JUPYTER_PATH", dir)
	write(t, filepath.Join(dir, "kernels", "test", "kernel.json"), fmt.Sprintf(`{"argv": [%q, %q, "{connection_file}"], "display_name": "Test", "language": "python"}`, python, script))
	return t.TempDir()
}

func write(t *testing.T, file, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestNotebookRunAndScript(t *testing.T) {
	dir := testKernel(t)
	script := write(t, filepath.Join(dir, "a.go"), "//%%\nout('one\\n'); err('two\\n')\n//%%\nshow(text_plain='three')\n")
	out, err := runVerb(t, "", "notebook", "run", script, "--kernel", "test", "--html", filepath.Join(dir, "a.html"))
	if err != nil {
		t.Fatal(err)
	}
	saved := filepath.Join(dir, "a.run.ipynb")
	for _, want := range []string{"[1/2] out('one\\n'); err('two\\n')\none\ntwo\n[1/2] ", "[2/2] show(text_plain='three')\nthree\n", "saved " + saved + "\n", "saved " + filepath.Join(dir, "a.html") + "\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	nb, err := notebook.ReadFile(saved)
	if err != nil || len(nb.Cells[0].Outputs) != 2 || len(nb.Cells[1].Outputs) != 1 {
		t.Errorf("%v, saved %+v", err, nb)
	}
	if page, err := os.ReadFile(filepath.Join(dir, "a.html")); err != nil || !strings.Contains(string(page), "three") {
		t.Errorf("the page: %v", err)
	}
	out, err = runVerb(t, "", "script", script, "--kernel", "test")
	if err != nil || out != "one\ntwo\nthree\n" {
		t.Errorf("%v: %q", err, out)
	}
}

func TestNotebookRunFails(t *testing.T) {
	dir := testKernel(t)
	file := write(t, filepath.Join(dir, "a.go"), "//%%\nout('one')\n//%%\n1/0\n//%%\nout('never')\n")
	saved := filepath.Join(dir, "out.ipynb")
	if _, err := runVerb(t, "", "notebook", "run", file, "--kernel", "test", "--out", saved); err == nil || !strings.Contains(err.Error(), "run "+file+": cell 2: division by zero") {
		t.Errorf("error %v", err)
	}
	if nb, err := notebook.ReadFile(saved); err != nil || len(nb.Cells[0].Outputs) != 1 || len(nb.Cells[1].Outputs) != 1 || len(nb.Cells[2].Outputs) != 0 {
		t.Errorf("%v, saved %+v", err, nb)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"notebook", "run", file, "-p", "a=1"}, file + `: no parameter "a": no cell tagged parameters`},
		{[]string{"script", file, "-p", "a"}, "not of the form name=value"},
		{[]string{"notebook", "run", file, "--out", "b.go"}, "a script has no outputs"},
		{[]string{"notebook", "run", filepath.Join(dir, "none.ipynb")}, "no such file"},
	} {
		if _, err := runVerb(t, "", c.args...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: error %v, want %s", c.args, err, c.want)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "a.run.ipynb")); err == nil {
		t.Error("a refused run saved something")
	}
}

func TestNotebookConvert(t *testing.T) {
	dir := t.TempDir()
	script := write(t, filepath.Join(dir, "a.go"), "//%% tags=[\"parameters\"]\nvar a = 1\n//%%\nfunc main() { //gonb:%%\n\tf(a)\n}\n")
	file := filepath.Join(dir, "a.ipynb")
	convert := func(args ...string) {
		t.Helper()
		if out, err := runVerb(t, "", append([]string{"notebook", "convert"}, args...)...); err != nil || !strings.HasPrefix(out, "wrote ") {
			t.Fatalf("%v: %s", err, out)
		}
	}
	convert(script)
	executed := func() string {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	if got := executed(); !strings.Contains(got, `"%%\n",`) || !strings.Contains(got, `"name": "budgetmem"`) {
		t.Errorf("converted:\n%s", got)
	}
	write(t, file, strings.Replace(executed(), `"outputs": []`, `"outputs": [{"output_type": "stream", "name": "stdout", "text": "kept"}]`, 1))
	convert(script, file, "--keep-outputs")
	if !strings.Contains(executed(), `"kept"`) {
		t.Error("the output is lost")
	}
	plain := filepath.Join(dir, "plain.ipynb")
	convert(file, plain)
	convert(file, file, "--keep-outputs")
	if data, err := os.ReadFile(plain); err != nil || strings.Contains(string(data), "kept") || !strings.Contains(executed(), `"kept"`) {
		t.Errorf("%v, without outputs:\n%s", err, data)
	}
	back := filepath.Join(dir, "b.go")
	convert(file, back)
	if data, err := os.ReadFile(back); err != nil || !strings.Contains(string(data), "//%%\n\nfunc main() { //gonb:%%\n\tf(a)\n}\n") {
		t.Errorf("%v, back:\n%s", err, data)
	}
	convert(script)
	if strings.Contains(executed(), "kept") {
		t.Error("the output is kept")
	}
	broken := write(t, filepath.Join(dir, "broken.ipynb"), "{}")
	for _, args := range [][]string{{file, back, "--keep-outputs"}, {broken}, {script, broken, "--keep-outputs"}} {
		if _, err := runVerb(t, "", append([]string{"notebook", "convert"}, args...)...); err == nil {
			t.Errorf("no error for %v", args)
		}
	}
	if data, err := os.ReadFile(broken); err != nil || string(data) != "{}" {
		t.Errorf("%v, the broken file is now %s", err, data)
	}
}
