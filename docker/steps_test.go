//go:build steps

package docker

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
)

var engine = flag.String("engine", engines[0], "the image whose steps to run: cpu or cuda")

// healthyWithin is how long the server may take until its health check passes.
const healthyWithin = 5 * time.Minute

// cell is a notebook that needs the kernel, and in it the project's packages.
const cell = `//go:build ignore

package main

//%%

import (
	"fmt"

	"github.com/budgetmem/budgetmem/tiers"
)

//%%

func main() { //gonb:%%
	fmt.Println("there are", tiers.NumModules, "modules")
}
`

// container is a folder that stands for an image's file system, and the settings that commands run with there.
type container struct {
	t    *testing.T
	root string
	// home is the user's folder as the image names it. Commands and settings that name it mean the one below root; other
	// absolute paths are this machine's.
	home string
	user string // "" is root
	dir  string
	env  map[string]string
}

// TestSteps goes through an image's commands in order: files are copied, and what the image's user would run is run. What root
// would run is not. Then the server is started as a container would start it, and a cell run in the kernel.
//
// Go's module and build caches are this machine's, and so are the models if BUDGETMEM_MODELS says so; all else is made anew.
func TestSteps(t *testing.T) {
	if !slices.Contains(engines, *engine) {
		t.Fatalf("-engine %s: want one of %v", *engine, engines)
	}
	img := readImage(t, *engine)
	c := &container{t: t, root: t.TempDir(), dir: "/", env: map[string]string{"PATH": os.Getenv("PATH")}}
	for _, command := range of[*instructions.EnvCommand](img) {
		for _, pair := range command.Env {
			if pair.Key == "HOME" {
				c.home = pair.Value
			}
		}
	}
	if c.home == "" {
		t.Fatal("the image does not say where HOME is")
	}
	files := contextFiles(t)
	for _, command := range img.commands {
		c.step(command, files)
	}
	t.Run("folders", func(t *testing.T) { c.folders(t, last[*instructions.VolumeCommand](t, img).Volumes) })
	if *engine == "cuda" {
		t.Run("libraries", c.libraries)
	}
	t.Run("server", func(t *testing.T) { c.server(t, img) })
	t.Run("cell", c.cell)
}

func (c *container) step(command instructions.Command, files []string) {
	c.t.Helper()
	switch s := command.(type) {
	case *instructions.ArgCommand:
		for _, pair := range s.Args {
			c.env[pair.Key] = expand(c.t, pair.ValueString(), c.env)
		}
	case *instructions.EnvCommand:
		before := maps.Clone(c.env)
		for _, pair := range s.Env {
			c.env[pair.Key] = expand(c.t, pair.Value, before)
		}
	case *instructions.UserCommand:
		c.user = expand(c.t, s.User, c.env)
	case *instructions.WorkdirCommand:
		c.dir = s.Path
		if err := os.MkdirAll(c.here(c.dir), 0o755); err != nil {
			c.t.Fatal(err)
		}
	case *instructions.CopyCommand:
		for _, source := range s.SourcePaths {
			for name, below := range matching(c.t, source, files) {
				if !strings.HasSuffix(s.DestPath, "/") && s.DestPath != "." {
					c.t.Fatalf("%s: want a destination that ends in a slash", s)
				}
				if err := copyFile(filepath.Join(project, name), filepath.Join(c.here(c.dir), s.DestPath, below)); err != nil {
					c.t.Fatalf("%s: %v", s, err)
				}
			}
		}
	case *instructions.RunCommand:
		if c.user == "" {
			c.t.Logf("not run, because it is for root: %s", s)
			return
		}
		start := time.Now()
		c.t.Logf("%s", s)
		run := c.command("/bin/sh", "-c", c.here(strings.Join(s.CmdLine, " ")))
		run.Stdout, run.Stderr = c.t.Output(), c.t.Output()
		if err := run.Run(); err != nil {
			c.t.Fatalf("%s: %v", s, err)
		}
		c.t.Logf("took %v", time.Since(start).Round(time.Second))
	}
}

// here turns a path of the image, or a text with such paths, into one of this machine.
func (c *container) here(text string) string {
	return strings.ReplaceAll(text, c.home, filepath.Join(c.root, c.home))
}

// command prepares a command of the image: in its folder, with its settings over those of this machine that say how to reach
// registries. Its children end with it.
func (c *container) command(name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(c.t.Context(), name, args...)
	cmd.Dir = c.here(c.dir)
	for _, setting := range os.Environ() {
		if key, _, _ := strings.Cut(setting, "="); !strings.HasPrefix(key, "JUPYTER") && !strings.HasPrefix(key, "MAKE") && key != "MFLAGS" {
			cmd.Env = append(cmd.Env, setting)
		}
	}
	for _, key := range []string{"GOENV", "GOMODCACHE", "GOCACHE"} {
		value, err := exec.Command("go", "env", key).Output()
		if err != nil {
			c.t.Fatalf("go env %s: %v", key, err)
		}
		cmd.Env = append(cmd.Env, key+"="+strings.TrimSpace(string(value)))
	}
	for key, value := range c.env {
		cmd.Env = append(cmd.Env, key+"="+c.here(value))
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	return cmd
}

// folders looks for the folders that become volumes and those that the settings name.
func (c *container) folders(t *testing.T, volumes []string) {
	named := slices.Clone(volumes)
	for _, value := range c.env {
		named = append(named, regexp.MustCompile(regexp.QuoteMeta(c.home)+`[^:\s]*`).FindAllString(value, -1)...)
	}
	for _, name := range named {
		if info, err := os.Stat(c.here(name)); err != nil || !info.IsDir() {
			t.Errorf("the image names %s, which is no folder: %v", name, err)
		}
	}
}

// libraries loads the plugin for CUDA, which needs no GPU, and looks for the tools that XLA calls.
func (c *container) libraries(t *testing.T) {
	data := regexp.MustCompile(`--xla_gpu_cuda_data_dir=(\S+)`).FindStringSubmatch(c.here(c.env["XLA_FLAGS"]))
	if data == nil {
		t.Fatalf("XLA_FLAGS=%s names no folder of CUDA's", c.env["XLA_FLAGS"])
	}
	for _, name := range []string{"bin/ptxas", "nvvm/libdevice/libdevice.10.bc"} {
		if _, err := os.Stat(filepath.Join(data[1], name)); err != nil {
			t.Error(err)
		}
	}
	load := c.command(c.here(c.home+"/budgetmem/.venv/bin/python"), "-c", `
import ctypes, glob, sys
for pattern in sys.argv[1:]:
    paths = glob.glob(pattern)
    assert paths, pattern
    for path in paths:
        ctypes.CDLL(path)
        print("loaded", path)
`, filepath.Join(data[1], "../../jax_plugins/xla_*/xla_*_plugin.so"), filepath.Join(data[1], "lib/libcublas.so.*"),
		filepath.Join(data[1], "../cudnn/lib/libcudnn.so.*"), filepath.Join(data[1], "../nccl/lib/libnccl.so.*"))
	if out, err := load.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	} else {
		t.Logf("%s", out)
	}
}

// server starts the image's command on a free port of the loopback interface, and asks it for its kernels once the image's
// health check passes.
func (c *container) server(t *testing.T, img image) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free := fmt.Sprint(listener.Addr().(*net.TCPAddr).Port)
	listener.Close()
	place := strings.NewReplacer("0.0.0.0", "127.0.0.1", port(t, img), free)
	line := func(words []string) (replaced []string) {
		for _, word := range words {
			replaced = append(replaced, place.Replace(word))
		}
		return replaced
	}

	token := rand.Text()
	args := line(last[*instructions.CmdCommand](t, img).CmdLine)
	if os.Getuid() == 0 {
		args = append(args, "--allow-root") // the image's user is not root, but whoever runs this test may be
	}
	// The shell finds the program on the image's path.
	serve := c.command("/bin/sh", append([]string{"-c", `exec "$0" "$@"`}, args...)...)
	serve.Env = append(serve.Env, "JUPYTER_TOKEN="+token)
	var log bytes.Buffer
	serve.Stdout, serve.Stderr = &log, &log
	if err := serve.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- serve.Wait() }()
	stop := func() error {
		serve.Process.Signal(syscall.SIGTERM)
		select {
		case err := <-ended:
			return err
		case <-time.After(time.Minute):
			serve.Cancel()
			return errors.Join(errors.New("still running a minute after SIGTERM"), <-ended)
		}
	}

	check := line(last[*instructions.HealthCheckCommand](t, img).Health.Test)[1:] // without CMD
	start := time.Now()
	for {
		err := c.command(check[0], check[1:]...).Run()
		if err == nil {
			break
		}
		if time.Since(start) > healthyWithin {
			t.Fatalf("the health check still fails after %v: %v; the server says\n%s", healthyWithin, errors.Join(err, stop()), &log)
		}
		time.Sleep(time.Second)
	}
	t.Logf("healthy after %v", time.Since(start).Round(time.Second))

	var found struct {
		Kernelspecs map[string]struct {
			Spec struct {
				DisplayName string `json:"display_name"`
			}
		}
	}
	err = get("http://127.0.0.1:"+free+"/api/kernelspecs", token, &found)
	if err := errors.Join(err, stop()); err != nil {
		t.Fatalf("%v; the server says\n%s", err, &log)
	}
	if name := found.Kernelspecs["budgetmem"].Spec.DisplayName; name != "BudgetMem (Go)" {
		t.Errorf("JupyterLab offers the kernels %v, want budgetmem as BudgetMem (Go)", found.Kernelspecs)
	}
	if err := get("http://127.0.0.1:"+free+"/api/kernelspecs", token, &found); err == nil {
		t.Error("the server still answers after SIGTERM")
	}
}

func get(url, token string, into any) error {
	request, err := http.NewRequest("GET", url, nil)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "token "+token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s: %s", url, response.Status, body)
	}
	return json.Unmarshal(body, into)
}

// cell runs a notebook of one cell that imports the project, from a folder outside it.
func (c *container) cell(t *testing.T) {
	script, result := filepath.Join(t.TempDir(), "cell.go"), filepath.Join(t.TempDir(), "cell.ipynb")
	if err := os.WriteFile(script, []byte(cell), 0o644); err != nil {
		t.Fatal(err)
	}
	run := c.command("/bin/sh", "-c", `exec bmem notebook run "$0" --out "$1"`, script, result)
	if out, err := run.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	notebook, err := os.ReadFile(result)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(notebook, []byte("there are 6 modules")) {
		t.Errorf("the cell printed something else:\n%s", notebook)
	}
}

// copyFile copies a file with its permissions and, as Docker does, its time.
func copyFile(from, to string) error {
	info, err := os.Stat(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // removed here, but still in git's index
	}
	if err != nil {
		return err
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(to, data, info.Mode().Perm()); err != nil {
		return err
	}
	return os.Chtimes(to, time.Time{}, info.ModTime())
}
