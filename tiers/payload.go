package tiers

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/kaptinlin/jsonrepair"
)

// Replies are read tolerantly, because small models keep to a format only roughly: the payload is what stands inside the
// last <answer>…</answer>, else the whole reply; code fences come off; broken JSON is repaired; an object with one list
// in it stands for that list. Every liberty taken is returned as a note.

// errPayload is wrapped by all errors about a reply that holds no usable payload.
var errPayload = errors.New("reply holds no usable payload")

// maxPayload bounds what is parsed, in bytes: far above any reply that was asked for.
const maxPayload = 64 << 10

var (
	answerRE = regexp.MustCompile(`(?is)<answer>(.*?)</answer>`)
	fenceRE  = regexp.MustCompile("(?s)```[a-zA-Z]*\\s*(.*?)(?:```|$)")
	listRE   = regexp.MustCompile(`(?s)\[.*\]`)
	bulletRE = regexp.MustCompile(`^\s*(?:[-*•]|\d{1,3}[.)])\s+`)
)

// payloadOf returns what stands between the answer tags, fences removed.
func payloadOf(reply string) (payload string, notes []string) {
	if len(reply) > maxPayload {
		reply = strings.ToValidUTF8(reply[:maxPayload], "")
		notes = append(notes, "reply cut to 64 KiB")
	}
	payload = reply
	if all := answerRE.FindAllStringSubmatch(reply, -1); len(all) > 0 {
		payload = all[len(all)-1][1]
	} else if i := strings.LastIndex(strings.ToLower(reply), "<answer>"); i >= 0 && len(strings.ToLower(reply)) == len(reply) {
		payload = reply[i+len("<answer>"):]
		notes = append(notes, "answer tag not closed")
	} else {
		notes = append(notes, "no answer tags")
	}
	if m := fenceRE.FindStringSubmatch(payload); m != nil {
		payload = m[1]
		notes = append(notes, "code fence removed")
	}
	return strings.TrimSpace(payload), notes
}

// parseInts reads a list of exactly n integers; a longer list is cut.
func parseInts(reply string, n int) ([]int, []string, error) {
	list, notes, err := parseList(reply)
	if err != nil {
		return nil, notes, err
	}
	out := make([]int, 0, len(list))
	for i, v := range list {
		x, err := integer(v)
		if err != nil {
			return nil, notes, fmt.Errorf("%w: element %d: %w", errPayload, i, err)
		}
		out = append(out, x)
	}
	if len(out) < n {
		return nil, notes, fmt.Errorf("%w: %d integers where %d were asked for", errPayload, len(out), n)
	}
	if len(out) > n {
		notes = append(notes, fmt.Sprintf("%d integers cut to %d", len(out), n))
	}
	return out[:n], notes, nil
}

// parseNumbers reads a list of line numbers, any count of them, each within 1…limit and kept once; others are dropped.
func parseNumbers(reply string, limit int) ([]int, []string, error) {
	list, notes, err := parseList(reply)
	if err != nil {
		return nil, notes, err
	}
	var out []int
	seen := map[int]bool{}
	for _, v := range list {
		if x, err := integer(v); err == nil && x >= 1 && x <= limit && !seen[x] {
			seen[x] = true
			out = append(out, x)
		} else if err != nil || !seen[x] {
			notes = append(notes, fmt.Sprintf("dropped %.40v", v))
		}
	}
	if len(out) == 0 {
		return nil, notes, fmt.Errorf("%w: no number between 1 and %d", errPayload, limit)
	}
	return out, notes, nil
}

// parseStrings reads a list of strings; an empty list is a valid answer. Lines with bullets stand for a list too.
func parseStrings(reply string) ([]string, []string, error) {
	list, notes, err := parseList(reply)
	if err != nil {
		payload, _ := payloadOf(reply)
		var lines []string
		for _, line := range strings.Split(payload, "\n") {
			if bulletRE.MatchString(line) {
				lines = append(lines, strings.TrimSpace(bulletRE.ReplaceAllString(line, "")))
			}
		}
		if len(lines) == 0 {
			return nil, notes, err
		}
		return distinct(lines), append(notes, "bullets read as a list"), nil
	}
	out := []string{}
	for _, v := range list {
		out = append(out, strings.TrimSpace(flat(v)))
	}
	return distinct(out), notes, nil
}

// parseList finds the list in a reply.
func parseList(reply string) ([]any, []string, error) {
	payload, notes := payloadOf(reply)
	if payload == "" {
		return nil, notes, fmt.Errorf("%w: empty reply", errPayload)
	}
	v, err := decode(payload)
	if err != nil {
		// Prose around the list, or JSON that needs repair; only what looks like JSON is repaired, since repair turns any
		// prose into a string.
		if m := listRE.FindString(payload); m != "" {
			payload = m
			notes = append(notes, "text around the list removed")
		}
		if v, err = decode(payload); err != nil && (payload[0] == '[' || payload[0] == '{') {
			v, err = repaired(payload)
			notes = append(notes, "JSON repaired")
		}
	}
	if err != nil {
		return nil, notes, fmt.Errorf("%w: %w", errPayload, err)
	}
	if list, ok := asList(v); ok {
		return list, notes, nil
	}
	return nil, notes, fmt.Errorf("%w: %T instead of a list", errPayload, v)
}

func decode(s string) (any, error) {
	var v any
	err := json.Unmarshal([]byte(s), &v)
	return v, err
}

func repaired(s string) (any, error) {
	fixed, err := jsonrepair.Repair(s)
	if err != nil {
		return nil, fmt.Errorf("repairing JSON: %w", err)
	}
	return decode(fixed)
}

// asList returns v as a list: itself, the list under "response" or the only list of an object, or the values of an
// object whose keys count from 1.
func asList(v any) ([]any, bool) {
	switch v := v.(type) {
	case []any:
		if len(v) == 1 { // [[…]]
			if inner, ok := v[0].([]any); ok {
				return inner, true
			}
		}
		return v, true
	case string: // a list inside a string
		if inner, err := decode(v); err == nil {
			if list, ok := inner.([]any); ok {
				return list, true
			}
		}
	case map[string]any:
		if r, ok := v["response"]; ok {
			return asList(r)
		}
		var lists [][]any
		for _, x := range v {
			if l, ok := x.([]any); ok {
				lists = append(lists, l)
			}
		}
		if len(lists) == 1 {
			return lists[0], true
		}
		out := make([]any, 0, len(v))
		for i := 1; i <= len(v); i++ {
			x, ok := v[strconv.Itoa(i)]
			if !ok {
				return nil, false
			}
			out = append(out, x)
		}
		return out, len(out) > 0
	}
	return nil, false
}

// integer reads a number, a number in a string ("7", "7/10"), or the score of an object.
func integer(v any) (int, error) {
	switch v := v.(type) {
	case float64:
		if math.Abs(v) > 1e9 {
			return 0, fmt.Errorf("%g is out of range", v)
		}
		return int(math.Round(v)), nil
	case string:
		head, _, _ := strings.Cut(v, "/")
		f, err := strconv.ParseFloat(strings.TrimSpace(head), 64)
		if err != nil || math.IsNaN(f) {
			return 0, fmt.Errorf("%.40q is no number", v)
		}
		return integer(f)
	case map[string]any:
		for _, key := range []string{"score", "relevance", "line", "id"} {
			if x, ok := v[key]; ok {
				return integer(x)
			}
		}
	}
	return 0, fmt.Errorf("%T is no number", v)
}

// flat writes a JSON value as one line of text: a triple in a list or an object becomes `a - b - c`.
func flat(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case []any:
		parts := make([]string, len(v))
		for i, x := range v {
			parts[i] = flat(x)
		}
		return strings.Join(parts, " - ")
	case map[string]any:
		if r, ok := v["response"]; ok {
			return flat(r)
		}
		var parts []string
		for _, key := range sortedKeys(v) {
			parts = append(parts, flat(v[key]))
		}
		return strings.Join(parts, " - ")
	case nil:
		return ""
	default:
		return fmt.Sprint(v)
	}
}

// sortedKeys puts the keys of a triple in the order it is read, then the others by name.
func sortedKeys(m map[string]any) []string {
	var keys, others []string
	known := []string{"subject", "relation", "predicate", "object", "context"}
	for _, k := range known {
		if _, ok := m[k]; ok {
			keys = append(keys, k)
		}
	}
	for k := range m {
		if !slices.Contains(known, k) {
			others = append(others, k)
		}
	}
	slices.Sort(others)
	return append(keys, others...)
}
