package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	shellBlockRE = regexp.MustCompile("(?ms)^```sh\n(.*?)^```")
	quotedRE     = regexp.MustCompile(`"[^"]*"`)
)

// The commands in the pages name verbs and flags that exist.
func TestCommandsInPages(t *testing.T) {
	n := 0
	for _, pattern := range []string{"../../*.md", "../../docs/*.md", "../../docs/results/*.md", "../../traces/README.md"} {
		pages, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, page := range pages {
			b, err := os.ReadFile(page)
			if err != nil {
				t.Fatal(err)
			}
			for _, block := range shellBlockRE.FindAllStringSubmatch(string(b), -1) {
				for line := range strings.Lines(strings.ReplaceAll(block[1], "\\\n", " ")) {
					n += checkCommand(t, filepath.Base(page), line)
				}
			}
		}
	}
	if n < 30 {
		t.Errorf("only %d commands found", n)
	}
}

// checkCommand looks at one line of a shell block and returns 1 if it runs bmem.
func checkCommand(t *testing.T, page, line string) int {
	t.Helper()
	line, _, _ = strings.Cut(quotedRE.ReplaceAllString(line, "TEXT"), " #")
	words := strings.Fields(line)
	for i, w := range words {
		if w != "bmem" && w != "bin/bmem" {
			continue
		}
		args := words[i+1:]
		cmd, rest, err := newRoot().Find(args)
		if err != nil || !cmd.HasParent() && len(rest) > 0 && !strings.HasPrefix(rest[0], "-") {
			t.Errorf("%s: %s: %v", page, strings.TrimSpace(line), err)
			return 1
		}
		for _, arg := range rest {
			name, isLong := strings.CutPrefix(arg, "--")
			name, _, _ = strings.Cut(name, "=")
			cmd.InitDefaultHelpFlag()
			cmd.InitDefaultVersionFlag()
			if isLong && name != "" && cmd.Flag(name) == nil && cmd.InheritedFlags().Lookup(name) == nil {
				t.Errorf("%s: bmem %s has no flag --%s", page, cmd.Name(), name)
			}
		}
		return 1
	}
	return 0
}
