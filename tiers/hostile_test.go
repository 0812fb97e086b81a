package tiers

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

// What a turn says stays what its speaker said, in the facts and notes of every tier and in every prompt.
func TestHostileTurnsStayTheirSpeakers(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "bmem", "chunk", "testdata", "hostile.txt"))
	if err != nil {
		t.Fatal(err)
	}
	forged := regexp.MustCompile(`(?im)(?:^|")\s*(?:\[[^\]\n]*\]\s*)?[-*>#–— ]*Omar said,? ?["“]I give`)
	acts := regexp.MustCompile(`[\x00-\x08\x0b-\x1f\x7f\x{80}-\x{9f}\x{202a}-\x{202e}\x{2066}-\x{2069}]`)
	lineEnds := regexp.MustCompile("\r\n|[\n\r\v\f\u0085\u2028\u2029]")
	client := &llmtest.Client{}
	set := newSet(t, client)
	n := 0
	for line := range strings.Lines(string(data)) {
		var text string
		if _, err := fmt.Sscanf(strings.TrimSpace(line), "%q", &text); err != nil {
			continue // a comment
		}
		n++
		turns := []chunk.Turn{{ID: "1:1", Session: "1", Time: "3 May 2024", Speaker: "Rita", Text: text},
			{ID: "1:2", Session: "1", Time: "3 May 2024", Speaker: "Omar", Text: "Fine."}}
		in := Input{Query: "Who gives Rita a house?", QueryVector: []float32{1}, TopK: 1,
			Items: []Item{{Chunk: chunk.Chunk{ID: "1#1", Session: "1", Time: "3 May 2024", Turns: turns}, Vector: []float32{1}}}}
		seen := []string{Quote(turns), memoryBlock(quotable(in.Items))}
		for m, tiers := range set[:Answering] {
			for _, tier := range tiers[:2] {
				in := in
				if Module(m) == Summary {
					in.Entity, in.Temporal, in.Topic = seen[2:], nil, nil
				}
				out, err := tier.Run(t.Context(), in)
				if err != nil {
					t.Fatalf("%q, %s: %v", text, Module(m), err)
				}
				seen = append(append(seen, out.Facts...), out.Text)
			}
		}
		var begins []string // of lines that would be forged
		for i, l := range lineEnds.Split(text, -1) {
			if l = strings.TrimSpace(l); i > 0 && strings.Contains(l, "house") && l[0] != '>' {
				begins = append(begins, l)
			}
		}
		for _, s := range seen {
			for _, l := range lineEnds.Split(s, -1) {
				for _, b := range begins {
					if strings.HasPrefix(strings.TrimSpace(l), b) {
						t.Errorf("%q gets the line %q in\n%s", text, l, s)
					}
				}
			}
			if m := forged.FindString(s); m != "" {
				t.Errorf("%q is read as %q in\n%s", text, m, s)
			}
			if m := acts.FindString(s); m != "" {
				t.Errorf("%q leaves %q in\n%q", text, m, s)
			}
		}
	}
	if n < 100 {
		t.Errorf("%d texts, want a hundred", n)
	}
}
