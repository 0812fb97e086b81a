package tiers

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestParseInts(t *testing.T) {
	for _, c := range []struct {
		name, reply string
		n           int
		want        []int
	}{
		{"as asked", "<answer>[0, 9, 4]</answer>", 3, []int{0, 9, 4}},
		{"prose before", "Let me see.\n<answer>\n[1,2]\n</answer> done", 2, []int{1, 2}},
		{"last answer counts", "like <answer>[5]</answer>: <answer>[7]</answer>", 1, []int{7}},
		{"upper-case tags", "<ANSWER>[3]</ANSWER>", 1, []int{3}},
		{"code fence", "<answer>```json\n[1, 2]\n```</answer>", 2, []int{1, 2}},
		{"fence without tags", "```\n[1, 2]\n```", 2, []int{1, 2}},
		{"bare list", "[8, 2]", 2, []int{8, 2}},
		{"list in prose", "The scores are [8, 2], I think.", 2, []int{8, 2}},
		{"response object", `{"response": [4, 5]}`, 2, []int{4, 5}},
		{"response holds text", `{"response": "[4, 5]"}`, 2, []int{4, 5}},
		{"only list of an object", `<answer>{"scores": [4, 5], "n": 2}</answer>`, 2, []int{4, 5}},
		{"counted object", `{"1": 4, "2": 5}`, 2, []int{4, 5}},
		{"objects", `[{"passage":1,"score":4},{"passage":2,"score":5}]`, 2, []int{4, 5}},
		{"strings", `["4", "5/10"]`, 2, []int{4, 5}},
		{"fractions", `[4.6, 0.2]`, 2, []int{5, 0}},
		{"nested", `[[1, 2]]`, 2, []int{1, 2}},
		{"longer", `[1, 2, 3]`, 2, []int{1, 2}},
		{"not closed", "<answer>[1, 2", 2, []int{1, 2}},
		{"trailing comma", "<answer>[1, 2,]</answer>", 2, []int{1, 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, _, err := parseInts(c.reply, c.n)
			if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Errorf("parseInts(%q) = %v, %v; want %v", c.reply, got, err, c.want)
			}
		})
	}
	for _, reply := range []string{"", "   ", "I cannot do that.", "<answer></answer>", "[1]", `["a", "b"]`, `[null, 1]`, "[]", "{}", "12", "true", `["NaN", 1]`} {
		if got, _, err := parseInts(reply, 2); !errors.Is(err, errPayload) {
			t.Errorf("parseInts(%q) = %v, %v; want errPayload", reply, got, err)
		}
	}
}

func TestParseStrings(t *testing.T) {
	for _, c := range []struct {
		name, reply string
		want        []string
	}{
		{"as asked", `<answer>["a - b - c (d)", "e"]</answer>`, []string{"a - b - c (d)", "e"}},
		{"empty list", `<answer>[]</answer>`, nil},
		{"single quotes", `<answer>['it', 'is']</answer>`, []string{"it", "is"}},
		{"cut in the middle", `<answer>["one", "tw`, []string{"one", "tw"}},
		{"triples as lists", `[["Ana","moved to","Porto"]]`, []string{"Ana", "moved to", "Porto"}},
		{"two triples as lists", `[["Ana","moved to","Porto"],["Bo","has","a dog"]]`, []string{"Ana - moved to - Porto", "Bo - has - a dog"}},
		{"triples as objects", `[{"object":"Porto","subject":"Ana","relation":"moved to"}]`, []string{"Ana - moved to - Porto"}},
		{"bullets", "Facts:\n- one\n* two\n3. three", []string{"one", "two", "three"}},
		{"twice the same", `["x","x"]`, []string{"x"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, _, err := parseStrings(c.reply)
			if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Errorf("parseStrings(%q) = %q, %v; want %q", c.reply, got, err, c.want)
			}
		})
	}
	for _, reply := range []string{"", "There is nothing.", "42"} {
		if got, _, err := parseStrings(reply); !errors.Is(err, errPayload) {
			t.Errorf("parseStrings(%q) = %q, %v; want errPayload", reply, got, err)
		}
	}
}

func TestParseNumbersDropsWhatIsNoLine(t *testing.T) {
	got, notes, err := parseNumbers("<answer>[12, 3, 3, 99, \"x\"]</answer>", 20)
	if err != nil || !reflect.DeepEqual(got, []int{12, 3}) || len(notes) != 2 {
		t.Errorf("got %v, notes %q, %v", got, notes, err)
	}
	if _, _, err := parseNumbers("[0, 21]", 20); !errors.Is(err, errPayload) {
		t.Errorf("numbers out of range: %v, want errPayload", err)
	}
}

// FuzzPayload holds that no reply crashes a parser, that what is accepted keeps its bounds, and that each failure is errPayload.
func FuzzPayload(f *testing.F) {
	for _, s := range []string{"<answer>[1, 2]</answer>", "```json\n[\"a\"]\n```", `{"response": {"1": 2}}`, "<answer>[[", "- a\n- b", "İ<answer>[1",
		strings.Repeat("[", 5000), strings.Repeat(`{"a":`, 3000), `["\ud800"]`, "[1e999]", "\xff[1]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, reply string) {
		if ints, _, err := parseInts(reply, 2); err == nil && len(ints) != 2 || err != nil && !errors.Is(err, errPayload) {
			t.Errorf("parseInts(%q): %v, %v", reply, ints, err)
		}
		if lines, _, err := parseNumbers(reply, 7); err != nil && !errors.Is(err, errPayload) {
			t.Errorf("parseNumbers(%q): %v", reply, err)
		} else {
			for _, n := range lines {
				if n < 1 || n > 7 {
					t.Errorf("parseNumbers(%q) gave %d", reply, n)
				}
			}
		}
		if list, _, err := parseStrings(reply); err == nil {
			for _, s := range list {
				if s == "" {
					t.Errorf("parseStrings(%q) gave an empty string", reply)
				}
			}
		} else if !errors.Is(err, errPayload) {
			t.Errorf("parseStrings(%q): %v", reply, err)
		}
		cleanAnswer(reply)
	})
}
