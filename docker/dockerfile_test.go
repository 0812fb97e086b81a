// Package docker holds the images and the compose file. Its tests read them with the parsers that Docker itself uses; those
// tagged steps also run what a build would run, as far as that goes without a container.
package docker

import (
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// project is the folder that is the build context.
const project = ".."

// engines are the values of the build argument ENGINE.
var engines = []string{"cpu", "cuda"}

// image is what a build of the Dockerfile with one engine goes through.
type image struct {
	base     string // the image that all starts from
	commands []instructions.Command
}

// readImage reads the Dockerfile and follows its stages from the last one back to the image that all starts from.
func readImage(t *testing.T, engine string) image {
	t.Helper()
	file, err := os.Open("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	parsed, err := parser.Parse(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range parsed.Warnings {
		t.Errorf("Dockerfile: %s", w.Short)
	}
	warn := func(rule, description, _, text string, at []parser.Range) {
		t.Errorf("Dockerfile:%d: %s: %s (%s)", at[0].Start.Line, rule, text, description)
	}
	stages, args, err := instructions.Parse(parsed.AST, linter.New(&linter.Config{Warn: warn}))
	if err != nil {
		t.Fatal(err)
	}
	if len(args) != 1 || args[0].Args[0].Key != "ENGINE" || args[0].Args[0].ValueString() != engines[0] {
		t.Fatalf("want one argument before the first stage, ENGINE=%s, got %v", engines[0], args)
	}

	var img image
	name := ""
	for i := len(stages) - 1; i >= 0; i-- {
		if i < len(stages)-1 && stages[i].Name != name {
			continue
		}
		img.commands = append(slices.Clone(stages[i].Commands), img.commands...)
		name = expand(t, stages[i].BaseName, map[string]string{"ENGINE": engine})
	}
	img.base = name
	return img
}

// of returns those of an image's commands that are of one type.
func of[C instructions.Command](img image) []C {
	var found []C
	for _, command := range img.commands {
		if c, ok := command.(C); ok {
			found = append(found, c)
		}
	}
	return found
}

// last returns the last command of a type, the one that counts.
func last[C instructions.Command](t *testing.T, img image) C {
	t.Helper()
	all := of[C](img)
	if len(all) == 0 {
		t.Fatalf("the image has no %T", *new(C))
	}
	return all[len(all)-1]
}

// expand replaces variables as Docker does.
func expand(t *testing.T, word string, env map[string]string) string {
	t.Helper()
	var list []string
	for key, value := range env {
		list = append(list, key+"="+value)
	}
	expanded, _, err := shell.NewLex('\\').ProcessWord(word, shell.EnvsFromSlice(list))
	if err != nil {
		t.Fatalf("expand %q: %v", word, err)
	}
	return expanded
}

// contextFiles lists the files that git tracks and .dockerignore lets into a build, relative to the project's folder.
func contextFiles(t *testing.T) []string {
	t.Helper()
	listed, err := exec.Command("git", "-C", project, "ls-files", "-z").Output()
	if err != nil {
		t.Fatalf("list the project's files: %v", err)
	}
	ignored := ignore(t)
	var files []string
	for name := range strings.SplitSeq(strings.TrimSuffix(string(listed), "\x00"), "\x00") {
		if !ignored(name) {
			files = append(files, name)
		}
	}
	return files
}

func ignore(t *testing.T) func(name string) bool {
	t.Helper()
	file, err := os.Open(filepath.Join(project, ".dockerignore"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	patterns, err := ignorefile.ReadAll(file)
	if err != nil {
		t.Fatal(err)
	}
	matcher, err := patternmatcher.New(patterns)
	if err != nil {
		t.Fatal(err)
	}
	return func(name string) bool {
		matches, err := matcher.MatchesOrParentMatches(name)
		if err != nil {
			t.Fatal(err)
		}
		return matches
	}
}

// matching returns the files that a source of COPY names, which is a pattern, a file, a folder or "." for all, each with its
// path below the destination: a folder's files go there, not the folder.
func matching(t *testing.T, source string, files []string) map[string]string {
	t.Helper()
	source = path.Clean(source)
	found := map[string]string{}
	for _, name := range files {
		if source == "." {
			found[name] = name
			continue
		}
		for part := name; part != "."; part = path.Dir(part) {
			ok, err := path.Match(source, part)
			if err != nil {
				t.Fatalf("COPY %s: %v", source, err)
			}
			if ok && part == name {
				found[name] = path.Base(name)
			} else if ok {
				found[name] = strings.TrimPrefix(name, part+"/")
			}
		}
	}
	return found
}

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(project, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// submatch returns the one thing in a file that the pattern's group finds.
func submatch(t *testing.T, name, pattern string) string {
	t.Helper()
	found := regexp.MustCompile(pattern).FindAllStringSubmatch(read(t, name), -1)
	if len(found) != 1 {
		t.Fatalf("%s has %d lines that match %s, want one", name, len(found), pattern)
	}
	return found[0][1]
}

func TestVersionsAgree(t *testing.T) {
	goVersion := submatch(t, "go.mod", `(?m)^toolchain go(\S+)$`)
	for _, engine := range engines {
		if base := readImage(t, engine).base; !regexp.MustCompile(`^golang:` + regexp.QuoteMeta(goVersion) + `-[a-z]+$`).MatchString(base) {
			t.Errorf("the image for %s starts from %s, want golang:%s-…, as go.mod says", engine, base, goVersion)
		}
	}
	cpu := submatch(t, "requirements.txt", `(?m)^lammps-jax-pjrt-cpu==(\S+)`)
	cuda := submatch(t, "requirements-cuda.txt", `(?m)^jax-cuda\d+-pjrt==(\S+)`)
	if cpu != cuda {
		t.Errorf("the XLA engine for CUDA is of version %s, the one for the CPU of %s", cuda, cpu)
	}
}

func TestCopiedFilesAreThere(t *testing.T) {
	files := contextFiles(t)
	for _, engine := range engines {
		for _, c := range of[*instructions.CopyCommand](readImage(t, engine)) {
			for _, source := range c.SourcePaths {
				if c.From == "" && len(matching(t, source, files)) == 0 {
					t.Errorf("%s: no file of the project that .dockerignore lets in matches %s", c, source)
				}
			}
		}
	}
}

// What git ignores was made here, and may be large or secret; a build makes its own.
func TestContextHoldsSourcesOnly(t *testing.T) {
	ignored := ignore(t)
	names := []string{".git/config", "docker/.env", ".env", "kernel/.env.local", "docker/Dockerfile"}
	for pattern := range strings.Lines(read(t, ".gitignore")) {
		name := strings.ReplaceAll(strings.TrimSpace(pattern), "*", "some")
		if anchored, ok := strings.CutPrefix(name, "/"); ok {
			name = anchored
		} else {
			name = "some/folder/" + name
		}
		if strings.HasSuffix(name, "/") {
			name += "file"
		}
		names = append(names, name)
	}
	for _, name := range names {
		if !ignored(name) {
			t.Errorf(".dockerignore lets %s into the build", name)
		}
	}

	const limit = 64 << 20
	var size int64
	for _, name := range contextFiles(t) {
		if info, err := os.Lstat(filepath.Join(project, name)); err == nil {
			size += info.Size()
		}
	}
	t.Logf("the build context takes %.1f MB", float64(size)/1e6)
	if size > limit {
		t.Errorf("the build context takes %d bytes, more than %d", size, limit)
	}
}

// A notebook and a command's example work in an image as they do in the project.
func TestContextHoldsTracesThatAreRead(t *testing.T) {
	read := map[string]string{} // a folder of traces and who reads it
	named := regexp.MustCompile(`traces/[a-z0-9-]+`)
	for _, pattern := range []string{"notebooks/*.ipynb", "cmd/bmem/*.go", "README.md"} {
		sources, err := filepath.Glob(filepath.Join(project, pattern))
		if err != nil || len(sources) == 0 {
			t.Fatalf("no file matches %s (%v)", pattern, err)
		}
		for _, source := range sources {
			data, err := os.ReadFile(source)
			if err != nil {
				t.Fatal(err)
			}
			for _, folder := range named.FindAllString(string(data), -1) {
				read[folder] = source
			}
		}
	}
	ignored := ignore(t)
	for folder, source := range read {
		files, err := filepath.Glob(filepath.Join(project, folder, "*.jsonl.gz"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files { // none where the example is about traces of one's own
			if name := filepath.ToSlash(strings.TrimPrefix(file, project+string(filepath.Separator))); ignored(name) {
				t.Errorf(".dockerignore keeps out %s, which %s reads", name, source)
			}
		}
	}
}

func TestMakeTargetsAreThere(t *testing.T) {
	made := map[string]bool{}
	for _, engine := range engines {
		for _, run := range of[*instructions.RunCommand](readImage(t, engine)) {
			for _, found := range regexp.MustCompile(`\bmake (\S+)`).FindAllStringSubmatch(strings.Join(run.CmdLine, " "), -1) {
				made[found[1]] = true
			}
		}
	}
	for _, want := range []string{"setup", "cuda"} {
		if !made[want] {
			t.Errorf("no image runs make %s", want)
		}
	}
	for target := range made {
		if out, err := exec.Command("make", "--directory", project, "--dry-run", target).CombinedOutput(); err != nil {
			t.Errorf("make %s: %v\n%s", target, err, out)
		}
	}
}

func TestImageRunsAsUser(t *testing.T) {
	for _, engine := range engines {
		img := readImage(t, engine)
		if user := last[*instructions.UserCommand](t, img).User; user == "root" || user == "0" {
			t.Errorf("the image for %s runs as %s", engine, user)
		}
		if first := slices.IndexFunc(img.commands, func(c instructions.Command) bool { return c.Name() == "USER" }); slices.ContainsFunc(
			img.commands[:first], func(c instructions.Command) bool { return c.Name() == "COPY" || c.Name() == "ADD" }) {
			t.Errorf("the image for %s takes in files before it has a user", engine)
		}
	}
}

func TestImageHoldsNoSecret(t *testing.T) {
	secret := regexp.MustCompile(`(?i)token|secret|passw|credential|api_?key`)
	for _, engine := range engines {
		img := readImage(t, engine)
		for _, c := range of[*instructions.EnvCommand](img) {
			for _, pair := range c.Env {
				if secret.MatchString(pair.Key) {
					t.Errorf("%s puts what may be a secret into a layer", c)
				}
			}
		}
		for _, c := range of[*instructions.ArgCommand](img) {
			for _, pair := range c.Args {
				if secret.MatchString(pair.Key) {
					t.Errorf("%s puts what may be a secret into the image's history", c)
				}
			}
		}
	}
}

// port is the one that the image serves.
func port(t *testing.T, img image) string {
	t.Helper()
	return last[*instructions.ExposeCommand](t, img).Ports[0]
}

func TestServerIsCheckedWhereItListens(t *testing.T) {
	img := readImage(t, engines[0])
	if arg := "--port=" + port(t, img); !slices.Contains(last[*instructions.CmdCommand](t, img).CmdLine, arg) {
		t.Errorf("the image exposes port %s, but its command has no %s", port(t, img), arg)
	}
	check := last[*instructions.HealthCheckCommand](t, img).Health.Test
	if url := "http://127.0.0.1:" + port(t, img) + "/"; !strings.HasPrefix(check[len(check)-1], url) {
		t.Errorf("the image exposes port %s, but checks %s", port(t, img), check[len(check)-1])
	}
}
