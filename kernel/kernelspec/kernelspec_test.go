package kernelspec

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestInstall(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "share", "jupyter")
	want := Spec{Bmem: "/opt/bin/bmem", Tools: "/opt/a folder/bin", Source: "/opt/src", Go: "/usr/local/go/bin"}
	path, err := Install(dir, want)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{`"display_name": "BudgetMem (Go)"`, `"language": "go"`, `"interrupt_mode": "message"`, `"{connection_file}"`, `"launch"`} {
		if !strings.Contains(string(data), part) {
			t.Errorf("kernel.json lacks %s:\n%s", part, data)
		}
	}
	if got, err := read(dir); err != nil || got != want {
		t.Errorf("read %+v, %v", got, err)
	}

	t.Setenv("JUPYTER_PATH", dir)
	if got, s, err := Find(); err != nil || got != dir || s != want {
		t.Errorf("found %s %+v, %v", got, s, err)
	}
	if err := Uninstall(dir); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Dir(path)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after uninstalling: %v", err)
	}
	if err := Uninstall(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("uninstalling again: %v", err)
	}
}

func TestReadRefusesOthers(t *testing.T) {
	for name, content := range map[string]string{
		"another kernel": `{"argv": ["gonb", "--kernel", "{connection_file}"], "display_name": "Go"}`,
		"no JSON":        `{`,
		"nothing":        `{}`,
	} {
		dir := t.TempDir()
		path := Path(dir)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
		if _, err := read(dir); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFindSaysHowToInstall(t *testing.T) {
	t.Setenv("JUPYTER_PATH", t.TempDir())
	t.Setenv("JUPYTER_DATA_DIR", t.TempDir())
	t.Setenv("BUDGETMEM_VENV", t.TempDir())
	if _, _, err := Find(); !errors.Is(err, ErrNotInstalled) || !strings.Contains(err.Error(), "bmem kernel install") {
		t.Errorf("%v", err)
	}
	if checks := Doctor(t.Context()); checks[0].Name != "kernel" || checks[0].Do == "" {
		t.Errorf("%+v", checks)
	}
}

func TestUserDir(t *testing.T) {
	t.Setenv("JUPYTER_DATA_DIR", "/data/jupyter")
	if dir, err := UserDir(); err != nil || dir != "/data/jupyter" {
		t.Errorf("%s, %v", dir, err)
	}
}

func TestEnviron(t *testing.T) {
	s := Spec{Tools: "/opt/tools"}
	env, err := s.environ(t.Context(), append(os.Environ(), "GOWORK=/elsewhere/go.work", "GOFLAGS=-p=1", "GOPROXY=https://proxy.example,direct", "KEEP=this"))
	if err != nil {
		t.Fatal(err)
	}
	if path := lookup(env, "PATH"); !strings.HasPrefix(path, "/opt/tools"+string(os.PathListSeparator)) || !strings.HasSuffix(path, os.Getenv("PATH")) {
		t.Errorf("PATH %s", path)
	}
	if flags := lookup(env, "GOFLAGS"); flags != "-p=1 '-ldflags=-s -w'" {
		t.Errorf("GOFLAGS %s", flags)
	}
	if proxy := lookup(env, "GOPROXY"); !strings.HasPrefix(proxy, "file://") || !strings.HasSuffix(proxy, "/cache/download,https://proxy.example,direct") {
		t.Errorf("GOPROXY %s", proxy)
	}
	if slices.ContainsFunc(env, func(kv string) bool { return strings.HasPrefix(kv, "GOWORK=") }) || lookup(env, "KEEP") != "this" {
		t.Errorf("environment %q", env)
	}
	again, err := s.environ(t.Context(), append(os.Environ(), "GOFLAGS=-ldflags=-X=a.b=c"))
	if err != nil || lookup(again, "GOFLAGS") != "-ldflags=-X=a.b=c" {
		t.Errorf("the user's linker flags became %s, %v", lookup(again, "GOFLAGS"), err)
	}
	if _, err := s.environ(t.Context(), []string{"PATH=" + t.TempDir()}); err == nil || !strings.Contains(err.Error(), "program go") {
		t.Errorf("without Go: %v", err)
	}
}

func TestLaunchSaysWhatFailed(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	s := Spec{Bmem: os.Args[0] + ".none", Tools: t.TempDir()}
	if err := s.Launch(t.Context(), "connection.json", t.Output()); err == nil || !strings.Contains(err.Error(), "bmem kernel doctor") {
		t.Errorf("without GoNB: %v", err)
	}
	script := "#!/bin/sh\necho of what it died >&2\nexit 3\n"
	if err := os.WriteFile(filepath.Join(s.Tools, "gonb"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := s.Launch(t.Context(), "connection.json", t.Output()); err == nil || !strings.Contains(err.Error(), "of what it died") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("a kernel that fails: %v", err)
	}
}
