package judge

import (
	"encoding/json"
	"regexp"
	"strconv"
	"strings"

	"github.com/kaptinlin/jsonrepair"
)

// maxReply bounds what is parsed, in bytes: above any reply that was asked for, and mending takes time by its square.
const maxReply = 8 << 10

// readScore reads the paper's verdict: an object with a score of 0, 0.5 or 1.
func readScore(reply string) (float64, string, bool) {
	object, ok := objectIn(reply)
	if !ok {
		return 0, "", false
	}
	var score float64
	switch v := object["score"].(type) {
	case float64:
		score = v
	case string:
		var err error
		if score, err = strconv.ParseFloat(strings.TrimSpace(v), 64); err != nil {
			return 0, "", false
		}
	default:
		return 0, "", false
	}
	if score != 0 && score != 0.5 && score != 1 {
		return 0, "", false
	}
	explanation, _ := object["explanation"].(string)
	return score, explanation, true
}

var labelRE = regexp.MustCompile(`(?i)\b(correct|incorrect|wrong)\b`)

// readLabel reads mem0's verdict: an object with a label, or the label alone.
func readLabel(reply string) (float64, string, bool) {
	text, explanation := reply, ""
	if object, ok := objectIn(reply); ok {
		if text, ok = object["label"].(string); !ok {
			return 0, "", false
		}
		explanation, _ = object["explanation"].(string)
	}
	score, ok := oneOf(labelRE, text, "correct")
	return score, explanation, ok
}

var (
	yesNoRE      = regexp.MustCompile(`(?i)\b(yes|no)\b`)
	yesNoFirstRE = regexp.MustCompile(`(?i)^\W*(yes|no)\b`)
)

// readYesNo reads LongMemEval's verdict. A reply that begins with yes or no is taken at that word, since the reasons behind
// it may hold the other; in any other reply only one of the two may occur.
func readYesNo(reply string) (float64, string, bool) {
	reply = strings.TrimSpace(reply)
	if m := yesNoFirstRE.FindStringSubmatch(reply); m != nil {
		return truth(strings.EqualFold(m[1], "yes")), "", true
	}
	score, ok := oneOf(yesNoRE, reply, "yes")
	return score, "", ok
}

// oneOf finds the words of a pattern in a text; all that occur must agree. It returns 1 if they are the good one.
func oneOf(words *regexp.Regexp, text, good string) (float64, bool) {
	var found []string
	for _, w := range words.FindAllString(text, -1) {
		found = append(found, strings.ToLower(w))
	}
	if len(found) == 0 {
		return 0, false
	}
	for _, w := range found {
		if (w == good) != (found[0] == good) {
			return 0, false
		}
	}
	return truth(found[0] == good), true
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// objectIn returns the one JSON object in a reply, repaired if needed. A reply with text around it, fences too, is read
// from the first brace to the last; two objects make no sense and are refused.
func objectIn(reply string) (map[string]any, bool) {
	if len(reply) > maxReply {
		return nil, false
	}
	from, to := strings.Index(reply, "{"), strings.LastIndex(reply, "}")
	if from < 0 {
		return nil, false
	}
	text := reply[from:]
	if to > from {
		text = reply[from : to+1]
	}
	var object map[string]any
	if json.Unmarshal([]byte(text), &object) == nil {
		return object, object != nil
	}
	fixed, err := jsonrepair.Repair(text)
	if err != nil || json.Unmarshal([]byte(fixed), &object) != nil {
		return nil, false
	}
	return object, object != nil
}
