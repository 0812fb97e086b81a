package budgetmem

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the tables in docs/results")

// pages lists the Markdown files, relative to the root.
func pages(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/results/*.md", "traces/README.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, found...)
	}
	if len(all) < 10 {
		t.Fatalf("only %d pages found", len(all))
	}
	return all
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestReadmeIsShort(t *testing.T) {
	if n := strings.Count(read(t, "README.md"), "\n"); n > 150 {
		t.Errorf("README.md has %d lines, at most 150 are wanted: move details to docs/", n)
	}
}

var linkRE = regexp.MustCompile(`\]\(([^)#\s]+)(#[^)]*)?\)`)

func TestLinksLeadSomewhere(t *testing.T) {
	for _, page := range pages(t) {
		for _, m := range linkRE.FindAllStringSubmatch(read(t, page), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), m[1])); err != nil {
				t.Errorf("%s links to %s: %v", page, m[1], err)
			}
		}
	}
}

var goBlockRE = regexp.MustCompile("(?ms)^```go\n(.*?)^```")

// Every Go snippet in the pages is an excerpt of an example that compiles.
func TestSnippetsAreExcerptsOfExamples(t *testing.T) {
	var sources []string
	for _, pattern := range []string{"examples/*/main.go", "*/example*_test.go", "*/*/example*_test.go", "*/*/*/example*_test.go", "bmem/quick/quick_test.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			sources = append(sources, trimLines(read(t, f)))
		}
	}
	n := 0
	for _, page := range pages(t) {
		for _, m := range goBlockRE.FindAllStringSubmatch(read(t, page), -1) {
			n++
			snippet := trimLines(m[1])
			if !slices.ContainsFunc(sources, func(s string) bool { return strings.Contains(s, snippet) }) {
				t.Errorf("%s: no example has these lines:\n%s", page, m[1])
			}
		}
	}
	if n == 0 {
		t.Error("no snippet found")
	}
}

// trimLines takes the indentation and empty lines away.
func trimLines(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); line != "" {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}

const (
	resultsPage = "docs/results/README.md"
	tableBegin  = "<!-- table: written by go test . -run ResultsTable -update -->\n"
	tableEnd    = "<!-- end of the table -->\n"
)

// The table of all results is made from the outputs quoted in the pages of the data sets.
func TestResultsTable(t *testing.T) {
	var b bytes.Buffer
	b.WriteString("| data set | axis | tiers | n | score | 95 % | µ$/question | verdict |\n|---|---|---|---|---|---|---|---|\n")
	for _, name := range []string{"locomo", "hotpotqa", "longmemeval"} {
		rows := resultRows(t, name)
		if len(rows) == 0 {
			t.Fatalf("%s: no result found", name)
		}
		b.WriteString(strings.Join(rows, ""))
	}
	checkTable(t, resultsPage, tableBegin, tableEnd, b.String())
}

// checkTable compares what stands between two marks of a page with what it is made from; -update writes it.
func checkTable(t *testing.T, file, begin, end, want string) {
	t.Helper()
	page := read(t, file)
	before, rest, ok := strings.Cut(page, begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s lacks the marks of the table", file)
	}
	switch want = before + begin + want + end + after; {
	case *update:
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	case page != want:
		t.Errorf("the table in %s is not that of the pages and files it is made from: run go test . -run %s -update", file, t.Name())
	}
}

var (
	sectionRE = regexp.MustCompile(`(?m)^## `)
	runRE     = regexp.MustCompile(`(?m)^(\S+) test, \d+ questions \(seed \d+\), (\S+) axis,`)
	verdictRE = regexp.MustCompile(`(?s)\*\*Verdict\.\*\* (.*?)\n\n`)
	scoreRE   = regexp.MustCompile(`(?m)^(.*?) +(\d+)  (\d\.\d{3})  (\[\d\.\d{3}, \d\.\d{3}\])`)
)

// resultRows returns a row for each policy of each run that the page of a data set quotes.
func resultRows(t *testing.T, dataset string) []string {
	t.Helper()
	file := "docs/results/" + dataset + ".md"
	var rows []string
	for _, section := range sectionRE.Split(read(t, file), -1)[1:] {
		title, _, _ := strings.Cut(section, "\n")
		run := runRE.FindStringSubmatch(section)
		if run == nil {
			continue
		}
		verdict := verdictRE.FindStringSubmatch(section)
		if verdict == nil {
			t.Fatalf("%s, section %q has no verdict", file, title)
		}
		scores, costs, ok := strings.Cut(section, "cost per question")
		if !ok {
			t.Fatalf("%s, section %q has no costs", file, title)
		}
		link := fmt.Sprintf("[%s](%s.md#%s)", strings.ReplaceAll(verdict[1], "\n", " "), dataset, anchor(title))
		for i, m := range scoreRE.FindAllStringSubmatch(scores, -1) {
			if i > 0 {
				link = ""
			}
			rows = append(rows, fmt.Sprintf("| %s | %s | %s | %s | %s | %s | %s | %s |\n", dataset, run[2], m[1], m[2], m[3], m[4], microdollars(t, costs, m[1]), link))
		}
	}
	return rows
}

// microdollars finds the price per question of a policy in the table of costs.
func microdollars(t *testing.T, costs, policy string) string {
	t.Helper()
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(policy) + ` +\d\S+ +(\d\S+)`).FindStringSubmatch(costs)
	if m == nil {
		t.Fatalf("no costs of %q", policy)
	}
	price, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return strconv.FormatFloat(price*1e6, 'g', 3, 64)
}

// anchor is what GitHub makes of a heading.
func anchor(title string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			return r
		}
		return -1
	}, strings.ToLower(title))
}
