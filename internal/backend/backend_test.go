package backend

import (
	"bytes"
	"errors"
	"log/slog"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/budgetmem/budgetmem/internal/testenv"
	"github.com/budgetmem/budgetmem/internal/venv"
)

// quietEnv clears what the machine says about plugins, so that a test sees only the files it makes.
func quietEnv(t *testing.T) {
	t.Helper()
	for _, name := range []string{Env, envPlugin, envPluginPath} {
		t.Setenv(name, "")
	}
	t.Setenv(venv.Env, t.TempDir())
	t.Setenv("HOME", t.TempDir())
}

func touch(t *testing.T, path string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("not a library"), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestOpenRejects(t *testing.T) {
	quietEnv(t)
	dir := t.TempDir()
	broken := touch(t, filepath.Join(dir, "pjrt_c_api_cpu_plugin.so"))
	comma := touch(t, filepath.Join(dir, "a,b", "pjrt_c_api_cpu_plugin.so"))
	commaCUDA := touch(t, filepath.Join(dir, "a,b", "xla_cuda_plugin.so"))
	for _, c := range []struct{ name, spec, want string }{
		{"unknown name", "tpu", "valid are auto, go, xla:cpu, xla:cuda"},
		{"unknown XLA device", "xla:gpu", "valid are auto, go, xla:cpu, xla:cuda"},
		{"unknown option of pure Go", "go,fast", "fast"},
		{"no plugin", "xla:cpu", "make setup"},
		{"no CUDA plugin", "xla:cuda", "make setup"},
		{"missing file", "xla:" + filepath.Join(dir, "none.so"), "none.so"},
		{"broken file", "xla:" + broken, broken},
		{"broken file, comma in its path", "xla:" + comma, comma},
		{"CUDA, comma in its path", "xla:" + commaCUDA, "holds a comma"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := Open(c.spec, nil)
			if err == nil {
				b.Finalize()
				t.Fatalf("Open(%q) opened %s", c.spec, b.Kind)
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("Open(%q): %v; want a mention of %q", c.spec, err, c.want)
			}
		})
	}
}

func TestAutoFallsBackToGo(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(t *testing.T)
		want string
	}{
		{"no plugin", func(*testing.T) {}, "slower"},
		{"broken plugin", func(t *testing.T) {
			t.Setenv(envPlugin, touch(t, filepath.Join(t.TempDir(), "pjrt_c_api_cpu_plugin.so")))
		}, "slower"},
	} {
		t.Run(c.name, func(t *testing.T) {
			quietEnv(t)
			c.make(t)
			var out bytes.Buffer
			b, err := Open("auto", slog.New(slog.NewTextHandler(&out, nil)))
			if err != nil {
				t.Fatal(err)
			}
			defer b.Finalize()
			if b.Kind != Go || b.Plugin != "" || b.Why == "" {
				t.Errorf("got kind %q, plugin %q, why %q; want pure Go and a reason", b.Kind, b.Plugin, b.Why)
			}
			if n := strings.Count(out.String(), c.want); n != 1 {
				t.Errorf("%d log lines say %q, want 1:\n%s", n, c.want, out.String())
			}
		})
	}
}

func TestPlugins(t *testing.T) {
	quietEnv(t)
	folder := os.Getenv(venv.Env)
	packages := filepath.Join(folder, "lib", "python3.11", "site-packages")
	cpu := touch(t, filepath.Join(packages, "lammps_jax_pjrt_cpu", "pjrt_c_api_cpu_plugin.so"))
	other := touch(t, filepath.Join(packages, "xla_plugins", "xla_cpu_pjrt", "xla_cpu_pjrt.so"))
	cuda := touch(t, filepath.Join(packages, "jax_plugins", "xla_cuda13", "xla_cuda_plugin.so"))
	touch(t, filepath.Join(packages, "numpy", "core.so"))
	dir := t.TempDir()
	first := touch(t, filepath.Join(dir, "pjrt_c_api_cpu_plugin.so"))
	t.Setenv(envPlugin, dir)
	t.Setenv(envPluginPath, first) // found twice, listed once

	want := []Plugin{{first, CPU, envPlugin, ""}, {cpu, CPU, folder, ""}, {other, CPU, folder, ""}, {cuda, CUDA, folder, ""}}
	got := Plugins()
	if len(got) != len(want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("plugin %d: got %v, want %v", i, got[i], want[i])
		}
	}
	if p, err := find(CUDA); err != nil || p.Path != cuda {
		t.Errorf("find(CUDA) = %v, %v; want %s", p, err, cuda)
	}
}

// A downloaded folder that somebody works in loads no code of its own, and neither does a file that others can change.
func TestUntrustedPlugins(t *testing.T) {
	quietEnv(t)
	t.Setenv(venv.Env, "")
	root := t.TempDir()
	const below = "lib/python3.12/site-packages/p/pjrt_c_api_cpu_plugin.so"
	touch(t, filepath.Join(root, ".venv", below))
	deep := filepath.Join(root, "a", "b")
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Chdir(deep)
	for _, p := range Plugins() {
		if strings.HasPrefix(p.Path, root) {
			t.Errorf("%s was found from the working folder", p.Path)
		}
	}

	open := touch(t, filepath.Join(root, "open", below))
	if err := os.Chmod(open, 0o666); err != nil {
		t.Fatal(err)
	}
	t.Setenv(venv.Env, filepath.Join(root, "open"))
	if _, err := find(CPU); err == nil || !strings.Contains(err.Error(), "everybody may write to "+open) {
		t.Errorf("a plugin that everybody can change: %v", err)
	}
	var out bytes.Buffer
	b, err := Open("auto", slog.New(slog.NewTextHandler(&out, nil)))
	if err != nil || b.Kind != Go || strings.Count(out.String(), "everybody may write") != 1 {
		t.Errorf("auto: %v, %v\n%s", b, err, &out)
	}
}

// Libraries that are no plugins are refused with a reason, and auto goes on to the next.
func TestNoPlugins(t *testing.T) {
	if !hasXLA {
		t.Log("built without cgo: nothing can be loaded")
		return
	}
	cc, err := exec.LookPath("cc")
	if err != nil {
		testenv.Missing(t, "no C compiler")
	}
	for name, c := range map[string]struct{ source, want string }{
		"null":  {"void *GetPjrtApi(void) { return 0; }", "GetPjrtApi returns nothing"},
		"other": {"int nothing;", "no function GetPjrtApi"},
	} {
		t.Run(name, func(t *testing.T) {
			quietEnv(t)
			file := filepath.Join(t.TempDir(), "pjrt_c_api_cpu_plugin.so")
			cmd := exec.Command(cc, "-shared", "-fPIC", "-x", "c", "-o", file, "-")
			cmd.Stdin = strings.NewReader(c.source)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if _, err := Open("xla:"+file, nil); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("asked for: %v, want %q", err, c.want)
			}
			t.Setenv(envPlugin, file)
			t.Setenv(envPluginPath, touch(t, filepath.Join(t.TempDir(), "pjrt_c_api_cpu_plugin.so")))
			var out bytes.Buffer
			b, err := Open("auto", slog.New(slog.NewTextHandler(&out, nil)))
			if err != nil || b.Kind != Go || strings.Count(out.String(), "did not open") != 2 {
				t.Errorf("auto: %v, %v\n%s", b, err, &out)
			}
		})
	}
}

// TestBackendsAgree computes one product on every backend that this machine has and checks it against plain loops.
func TestBackendsAgree(t *testing.T) {
	specs := []string{"go"}
	for _, p := range Plugins() {
		if hasXLA && (p.Kind == CPU || p.Kind == CUDA && hasNVIDIA()) {
			specs = append(specs, "xla:"+p.Path)
			if p.Kind == CPU { // the same plugin where its path speaks of another device
				link := filepath.Join(t.TempDir(), "nvidia, cuda", filepath.Base(p.Path))
				if err := errors.Join(os.Mkdir(filepath.Dir(link), 0o755), os.Symlink(p.Path, link)); err != nil {
					t.Fatal(err)
				}
				specs = append(specs, "xla:"+link)
			}
		}
	}
	if len(specs) == 1 {
		t.Log("no XLA plugin here: only pure Go is tested")
	}
	const n = 64
	a, b := make([][]float32, n), make([][]float32, n)
	for i := range n {
		a[i], b[i] = make([]float32, n), make([]float32, n)
		for j := range n {
			a[i][j], b[i][j] = float32(math.Sin(float64(i*n+j))), float32(math.Cos(float64(i-j)))
		}
	}
	for _, spec := range specs {
		t.Run(spec, func(t *testing.T) {
			be, err := Open(spec, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer be.Finalize()
			if n := be.NumDevices(); be.Kind != CUDA && n != 1 {
				t.Errorf("%d devices, where there is one processor's memory: XLA has a thread for each", n)
			}
			exec, err := graph.NewExec(be, func(x, y *graph.Node) *graph.Node { return graph.MatMul(x, y) })
			if err != nil {
				t.Fatal(err)
			}
			out, err := exec.Call1(a, b)
			if err != nil {
				t.Fatal(err)
			}
			got := out.Value().([][]float32)
			for i := range n {
				for j := range n {
					var want float64
					for k := range n {
						want += float64(a[i][k]) * float64(b[k][j])
					}
					if d := math.Abs(float64(got[i][j]) - want); d > 1e-4 {
						t.Fatalf("[%d][%d] = %g, want %g", i, j, got[i][j], want)
					}
				}
			}
		})
	}
}
