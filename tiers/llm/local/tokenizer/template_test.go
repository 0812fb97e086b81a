package tokenizer

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/tiers/llm"
)

// chat is a case rendered by Python's jinja2 under the settings of the Hugging Face libraries.
type chat struct {
	Template string
	Source   string // of templates that are no model's
	Messages []llm.Message
	Add      bool
	Text     string
	Error    string
	IDs      []int32 // of Text, by llama.cpp
}

func TestRenderEqualsJinja2(t *testing.T) {
	f, err := os.Open("testdata/chats.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	toks := map[string]*Tokenizer{}
	for _, model := range modelNames {
		toks[model] = load(t, model)
	}
	cases := 0
	for scan := bufio.NewScanner(f); scan.Scan(); cases++ {
		var c chat
		if err := json.Unmarshal(scan.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		tok := toks[c.Template]
		var tmpl *ChatTemplate
		if tok != nil {
			tmpl = tok.Template()
		} else if tmpl, err = newChatTemplate(c.Source, "<s>", "</s>"); err != nil {
			t.Fatalf("%s: %v", c.Template, err)
		}
		got, err := tmpl.Render(t.Context(), c.Messages, c.Add)
		switch {
		case c.Error != "":
			if err == nil || !strings.Contains(err.Error(), c.Error) {
				t.Errorf("%s %+v: error %v, want %q", c.Template, c.Messages, err, c.Error)
			}
		case err != nil:
			t.Errorf("%s %+v: %v", c.Template, c.Messages, err)
		case got != c.Text:
			t.Errorf("%s %+v:\n got %q\nwant %q", c.Template, c.Messages, got, c.Text)
		case tok != nil && !slices.Equal(tok.Encode(got, true), c.IDs):
			t.Errorf("%s %+v: ids %v, want %v", c.Template, c.Messages, tok.Encode(got, true), c.IDs)
		}
	}
	if cases < 90 {
		t.Errorf("only %d cases in the fixture", cases)
	}
}

func TestRenderConcurrently(t *testing.T) {
	tmpl := load(t, "qwen2").Template()
	messages := []llm.Message{{Role: llm.System, Content: "s"}, {Role: llm.User, Content: "u"}}
	want, err := tmpl.Render(t.Context(), messages, true)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				if got, err := tmpl.Render(t.Context(), messages, true); err != nil || got != want {
					t.Errorf("got %q, %v", got, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestTemplateReadsNoFiles(t *testing.T) {
	tmpl, err := newChatTemplate(`{% include "/etc/hostname" %}`, "", "")
	if err == nil {
		_, err = tmpl.Render(t.Context(), nil, false)
	}
	if err == nil {
		t.Error("a template could include a file")
	}
}

func TestNoTemplate(t *testing.T) {
	var none *ChatTemplate
	if _, err := none.Render(t.Context(), nil, true); !errors.Is(err, ErrNoTemplate) {
		t.Errorf("got %v, want ErrNoTemplate", err)
	}
}

func TestStrftime(t *testing.T) {
	day := time.Date(2023, time.May, 8, 13, 56, 7, 0, time.UTC)
	if got, err := strftime(day, "%d %b %Y %H:%M:%S 100%%"); err != nil || got != "08 May 2023 13:56:07 100%" {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := strftime(day, "%Q"); err == nil {
		t.Error("an unknown directive is no error")
	}
}
