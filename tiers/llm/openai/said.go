package openai

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// endpointError is what an endpoint says went wrong.
type endpointError struct{ words, code, param string }

// readError reads an error in the forms of OpenAI, FastAPI, Ollama and Gemini. A body of another form gives no words.
func readError(body []byte) endpointError {
	o, err := readObject(body)
	if err != nil {
		return endpointError{}
	}
	return errorOf(o)
}

func errorOf(o object) endpointError {
	inner := o.get("error")
	if inner == nil {
		inner = o
	}
	e := endpointError{code: strings.TrimSpace(inner.text("code") + " " + inner.text("type") + " " + inner.text("status")), param: inner.text("param")}
	for _, text := range []string{inner.text("message"), o.text("error"), o.text("message"), o.text("detail"), o.text("msg"), inner.text("error")} {
		if text != "" {
			e.words = text
			break
		}
	}
	// OpenRouter puts the provider's words below its own.
	if raw := inner.get("metadata").text("raw"); raw != "" {
		e.words += ": " + raw
	}
	for _, d := range o.list("errors") { // Cloudflare
		e.words = strings.TrimSpace(e.words + " " + d.text("message"))
	}
	if base := o.get("base_resp"); base.count("status_code") != 0 { // MiniMax
		e.words = strings.TrimSpace(e.words + " " + base.text("status_msg"))
	}
	for _, d := range o.list("detail") { // FastAPI lists the fields that it does not take
		var at []any
		_ = json.Unmarshal(d["loc"], &at)
		e.words = strings.TrimSpace(e.words + " " + d.text("type") + " " + fmt.Sprint(at...) + " " + d.text("msg"))
		if len(at) > 0 {
			e.param = fmt.Sprint(at[len(at)-1])
		}
	}
	if e.words == "" && o.says("error") {
		e.words = string(o["error"])
	}
	return e
}

// status is the HTTP status that an error's code names; 0 if it names none.
func (e endpointError) status() int {
	for word := range strings.FieldsSeq(e.code) {
		if n, err := strconv.Atoi(word); err == nil && n >= 400 && n < 600 {
			return n
		}
	}
	return 0
}

// quotaRE finds that an account has no money left, or is closed, which waiting does not change. A quota of requests a
// minute is none of these.
var quotaRE = regexp.MustCompile(`(?i)insufficient[_ ](?:quota|balance|credits?|funds)|exceeded_current_quota_error|billing_(?:not_active|hard_limit)|credit balance|account (?:is )?(?:not active|suspended|deactivated|in arrears)|arrearage`)

// quota says whether the account has no money left.
func (e endpointError) quota() bool {
	return quotaRE.MatchString(e.code) || quotaRE.MatchString(e.words) || e.status() == 402
}

// busy says whether an endpoint refused because it has too much to do.
func (e endpointError) busy() bool {
	s := e.status()
	text := strings.ToLower(e.code + " " + e.words)
	return s == 429 || s == 503 || s == 529 || strings.Contains(text, "overloaded") || strings.Contains(text, "rate_limit")
}
