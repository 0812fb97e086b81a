package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

var defaultRE = regexp.MustCompile(`\$\{\w+:-(\w+)\}`)

// The commands of containers, and those in the comments of their files, name verbs, flags and values that exist.
func TestCommandsOfContainers(t *testing.T) {
	files, err := filepath.Glob("../../docker/kubernetes/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	run, said := 0, 0
	for _, file := range append(files, "../../docker/compose.yaml") {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for dec := yaml.NewDecoder(bytes.NewReader(data)); ; {
			var doc any
			if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			for _, words := range commands(doc) {
				if words[0] != "bmem" {
					continue
				}
				run++
				cmd, rest, err := newRoot().Find(words[1:])
				if err == nil {
					err = cmd.ParseFlags(rest)
				}
				if err == nil {
					err = errors.Join(cmd.ValidateArgs(cmd.Flags().Args()), cmd.ValidateRequiredFlags(), cmd.ValidateFlagGroups())
				}
				if err != nil {
					t.Errorf("%s: %v: %v", filepath.Base(file), words, err)
				}
			}
		}
		var comments strings.Builder
		for line := range strings.Lines(string(data)) {
			if text, ok := strings.CutPrefix(line, "#"); ok {
				comments.WriteString(text)
			}
		}
		for line := range strings.Lines(strings.ReplaceAll(comments.String(), "\\\n", " ")) {
			if strings.Contains(line, " bmem ") && strings.Contains(line, " --") && !strings.Contains(line, "bmem …") && !strings.HasPrefix(line, " of") {
				said += checkCommand(t, filepath.Base(file), line)
			}
		}
	}
	if run < 5 || said < 3 {
		t.Errorf("%d commands are run and %d said", run, said)
	}
}

// commands finds the values of "command" that are lists, below v.
func commands(v any) (out [][]string) {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			list, ok := value.([]any)
			if key != "command" || !ok {
				out = append(out, commands(value)...)
				continue
			}
			var words []string
			for _, w := range list {
				if s, ok := w.(string); ok {
					words = append(words, defaultRE.ReplaceAllString(s, "$1"))
				}
			}
			out = append(out, words)
		}
	case []any:
		for _, value := range v {
			out = append(out, commands(value)...)
		}
	}
	return out
}
