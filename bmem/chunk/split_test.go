package chunk

import (
	"context"
	"errors"
	"fmt"
	"math/rand"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

// words counts white-space separated words: the simplest tokenizer.
func words(s string) int { return len(strings.Fields(s)) }

// pieces counts four bytes a token inside each word: like a word-piece tokenizer, it cuts long words.
func pieces(s string) int {
	n := 0
	for _, w := range strings.Fields(s) {
		n += (len(w) + 3) / 4
	}
	return n
}

func mustSplit(t *testing.T, turns []Turn, count func(string) int, limit int) []Chunk {
	t.Helper()
	chunks, err := Split(t.Context(), turns, count, limit)
	if err != nil {
		t.Fatal(err)
	}
	return chunks
}

func TestSplitPacks(t *testing.T) {
	turn := func(id, session, text string) Turn { return Turn{ID: id, Session: session, Text: text} }
	tests := []struct {
		name  string
		turns []Turn
		max   int
		want  []string // "chunk id|tokens|turn ids|text"
	}{
		{name: "no turns"},
		{"packs in order up to the limit", []Turn{turn("1", "a", "one two"), turn("2", "a", "three"), turn("3", "a", "four")}, 3,
			[]string{"a#1|3|1 2|one two\nthree", "a#2|1|3|four"}},
		{"never across sessions", []Turn{turn("1", "a", "one"), turn("2", "b", "two"), turn("3", "a", "three")}, 10,
			[]string{"a#1|1|1|one", "b#1|1|2|two", "a#2|1|3|three"}},
		{"a long turn is cut at sentences", []Turn{turn("1", "a", "One two three. Four five six? Seven.")}, 4,
			[]string{"a#1|3|1|One two three.", "a#2|4|1|Four five six? Seven."}},
		{"at words where sentences are too long", []Turn{turn("1", "a", "one two three four five")}, 2,
			[]string{"a#1|2|1|one two", "a#2|2|1|three four", "a#3|1|1|five"}},
		{"the rest of a long turn is packed with the next one", []Turn{turn("1", "a", "one two three"), turn("2", "a", "four")}, 2,
			[]string{"a#1|2|1|one two", "a#2|2|1 2|three\nfour"}},
		{"an empty turn is kept", []Turn{turn("1", "a", "")}, 2, []string{"a#1|0|1|"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, c := range mustSplit(t, tt.turns, words, tt.max) {
				got = append(got, fmt.Sprintf("%s|%d|%s|%s", c.ID, c.Tokens, strings.Join(c.TurnIDs(), " "), c.Text()))
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

func TestSplitCutsLongWords(t *testing.T) {
	long := strings.Repeat("äöü€", 30)
	chunks := mustSplit(t, []Turn{{ID: "1", Speaker: "Bo", Text: long}}, pieces, 10)
	var got strings.Builder
	for _, c := range chunks {
		if c.Tokens > 10 || !utf8.ValidString(c.Text()) || c.Turns[0].Speaker != "Bo" {
			t.Errorf("bad part: %+v", c)
		}
		got.WriteString(c.Turns[0].Text)
	}
	if got.String() != long {
		t.Errorf("parts join to %q", got.String())
	}
	if tiny := mustSplit(t, []Turn{{Text: "abc"}}, func(string) int { return 9 }, 1); len(tiny) != 3 {
		t.Errorf("a limit that nothing meets: %d chunks, want one a character", len(tiny))
	}
}

// checkSplit holds for any input: nothing lost, order kept, sessions apart, limit met, ids unique.
func checkSplit(t *testing.T, turns []Turn, count func(string) int, limit int) {
	t.Helper()
	chunks := mustSplit(t, turns, count, limit)
	ids := map[string]bool{}
	at := 0          // turn being reassembled
	var parts []Turn // its parts so far
	squeeze := func(s string) string { return strings.Join(strings.Fields(s), "") }
	done := func() {
		var text string
		for _, p := range parts {
			if p.ID != turns[at].ID || p.Session != turns[at].Session || p.Speaker != turns[at].Speaker || p.Time != turns[at].Time {
				t.Fatalf("turn %d: part is of turn %+v, want %+v", at, p, turns[at])
			}
			text += p.Text
		}
		if len(parts) == 1 && text != turns[at].Text && strings.TrimSpace(turns[at].Text) != text {
			t.Fatalf("turn %d in one piece changed: %q, want %q", at, text, turns[at].Text)
		}
		if squeeze(text) != squeeze(turns[at].Text) {
			t.Fatalf("turn %d: parts join to %q, want %q", at, text, turns[at].Text)
		}
		at, parts = at+1, nil
	}
	for _, c := range chunks {
		if ids[c.ID] {
			t.Fatalf("id %s used twice", c.ID)
		}
		ids[c.ID] = true
		if c.Tokens != count(c.Text()) || c.Tokens > limit {
			t.Fatalf("chunk %s: %d tokens noted, %d counted, limit %d", c.ID, c.Tokens, count(c.Text()), limit)
		}
		for _, turn := range c.Turns {
			if turn.Session != c.Session {
				t.Fatalf("chunk %s of session %q holds a turn of %q", c.ID, c.Session, turn.Session)
			}
			if len(parts) > 0 && turn.ID != parts[0].ID {
				done()
			}
			parts = append(parts, turn)
		}
	}
	if len(parts) > 0 {
		done()
	}
	if at != len(turns) {
		t.Fatalf("%d of %d turns came out", at, len(turns))
	}
	if again := mustSplit(t, turns, count, limit); !reflect.DeepEqual(again, chunks) {
		t.Fatal("two calls differ")
	}
}

func TestSplitKeepsEverything(t *testing.T) {
	rng := rand.New(rand.NewSource(1))
	for range 300 {
		var turns []Turn
		for i := range rng.Intn(30) {
			var text strings.Builder
			for range rng.Intn(60) {
				text.WriteString(strings.Repeat("x", 1+rng.Intn(12)))
				text.WriteString([]string{" ", ". ", "\n", "? ", "  "}[rng.Intn(5)])
			}
			turn := Turn{ID: fmt.Sprint("t", i), Session: fmt.Sprint("s", i/(1+rng.Intn(5))), Text: text.String()}
			if rng.Intn(2) == 0 {
				turn.Speaker = "Ann"
			}
			turns = append(turns, turn)
		}
		checkSplit(t, turns, words, 3+rng.Intn(40))
		checkSplit(t, turns, pieces, 8+rng.Intn(40))
	}
}

func TestSplitIsStableUnderAppending(t *testing.T) {
	var turns []Turn
	for i := range 50 {
		turns = append(turns, Turn{ID: fmt.Sprint(i), Session: fmt.Sprint(i / 10), Text: strings.Repeat("w ", 1+i%7)})
	}
	before := mustSplit(t, turns[:37], words, 9)
	after := mustSplit(t, turns, words, 9)
	for i, c := range before[:len(before)-1] {
		if !reflect.DeepEqual(c, after[i]) {
			t.Fatalf("chunk %d changed from %+v to %+v", i, c, after[i])
		}
	}
	if before[len(before)-1].ID != after[len(before)-1].ID {
		t.Error("the last chunk's id changed")
	}
}

// What is measured of a long turn grows with its length, whatever it is made of, and a cancel ends the cutting.
func TestSplitIsLinear(t *testing.T) {
	for name, text := range map[string]string{"one word": strings.Repeat("x", 1<<20), "words": strings.Repeat("word ", 1<<18), "no spaces": strings.Repeat("猫が好き。", 1<<16),
		"marks": strings.Repeat("a,", 1<<19), "lines": strings.Repeat("a\n", 1<<18)} {
		measured := 0
		count := func(s string) int { measured += len(s); return pieces(s) }
		if chunks := mustSplit(t, []Turn{{Text: text}}, count, 256); len(chunks) < 900 {
			t.Errorf("%s: %d chunks", name, len(chunks))
		}
		if measured > 16*len(text) {
			t.Errorf("%s: %d bytes measured of %d", name, measured, len(text))
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	calls := 0
	count := func(s string) int {
		if calls++; calls == 100 {
			cancel()
		}
		return pieces(s)
	}
	if _, err := Split(ctx, []Turn{{Text: strings.Repeat("word ", 1<<20)}}, count, 256); !errors.Is(err, context.Canceled) || calls > 200 {
		t.Errorf("cancelled: %v after %d calls", err, calls)
	}
}

func FuzzSplit(f *testing.F) {
	f.Add("hello there. how are you?", "fine\n\nthanks", uint8(8))
	f.Add("\xff\xfe", "  ", uint8(9))
	f.Add("a", strings.Repeat("\x97", 3000), uint8('P')) // no start of a character far and wide
	f.Fuzz(func(t *testing.T, first, second string, limit uint8) {
		turns := []Turn{{ID: "a", Session: "s", Text: first}, {ID: "b", Session: "s", Speaker: "Bo", Text: second}}
		checkSplit(t, turns, pieces, int(limit)%64+8)
	})
}
