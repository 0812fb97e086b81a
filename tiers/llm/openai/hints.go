package openai

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/budgetmem/budgetmem/tiers/llm"
)

// learned is what endpoints of a client asked for. It is kept for the life of the client.
type learned struct {
	mu            sync.Mutex
	newName       bool            // send max_completion_tokens
	noTemperature bool            // send no temperature
	dropped       map[string]bool // further parameters not to send
	mostOut       int             // longest reply in tokens; 0: not known
	batch         int             // most texts of an embedding call
	warned        map[string]bool
}

// wanted is a copy of what was learned so far.
type wanted struct {
	newName, noTemperature bool
	dropped                map[string]bool
	mostOut, batch         int
}

func (l *learned) now() wanted {
	l.mu.Lock()
	defer l.mu.Unlock()
	return wanted{l.newName, l.noTemperature, maps.Clone(l.dropped), l.mostOut, l.batch}
}

// mayDrop are the parameters that a reply can do without.
var mayDrop = []string{"response_format", "reasoning_effort", "seed", "stop", "n", "top_logprobs", "logprobs"}

var (
	refusalRE   = regexp.MustCompile(`(?i)unsupported|not support|does not|doesn't|not permitted|not allowed|forbidden|unknown|unrecognized|unrecognised|unexpected|invalid|deprecated|only the default|must be|extra`)
	useNewRE    = regexp.MustCompile(`(?i)max_completion_tokens['"\x60]*\s+instead|(?:use|with|parameter)\s+['"\x60]?max_completion_tokens`)
	useOldRE    = regexp.MustCompile(`(?i)max_tokens['"\x60]*\s+instead`)
	contextRE   = regexp.MustCompile(`(?i)(?:maximum )?context (?:length|window|size)[^.;]*?(\d[\d,]*)`)
	promptRE    = regexp.MustCompile(`(?i)(?:\(|prompt contains (?:at least )?|messages resulted in |prompt of )(\d[\d,]*) (?:tokens? )?(?:in the messages|in the prompt|input tokens|tokens)`)
	replyMostRE = regexp.MustCompile(`(?i)max_(?:completion_)?tokens.*?(?:at most|less than or equal to|<=|maximum(?: value)?(?: is| of|:)?|cannot exceed|must not exceed|up to|range.*?,)\s*(\d[\d,]*)`)
	numberRE    = regexp.MustCompile(`\d[\d,]*`)
	batchRE     = regexp.MustCompile(`(?i)batch|too many|(?:single|only one|one) (?:input|text|string|item|document)|inputs?\b.*(?:array|list|at most|larger|maximum|less than|limit|exceed|too long|size)|maximum.*(?:inputs?|texts?|items?|elements?)|tokens per request|payload too large|at most \d+`)
)

// hint reads a refused request's answer, and says whether the next attempt will send something else: the parameter that
// the endpoint asks for, or a shorter limit. used is what the refused request was made of, limit its reply's limit.
func (c *Client) hint(err error, used wanted, limit int) bool {
	var a *answered
	if !errors.As(err, &a) || !errors.Is(err, llm.ErrBadRequest) {
		return false
	}
	said := readError(a.body)
	text := said.words + " " + said.code + " " + said.param
	l := &c.learned
	l.mu.Lock()
	defer l.mu.Unlock()
	refused := func(name string) bool {
		return said.param == name || (mentions(text, name) && refusalRE.MatchString(text))
	}
	switch {
	case !used.newName && (useNewRE.MatchString(text) || said.param == "max_tokens" && !replyMostRE.MatchString(text)):
		l.newName = true
		c.tell("wants max_completion_tokens instead of max_tokens", "max_completion_tokens=true")
	case used.newName && (useOldRE.MatchString(text) || refused("max_completion_tokens") && !replyMostRE.MatchString(text)):
		l.newName = false
		c.tell("wants max_tokens instead of max_completion_tokens", "")
	case !used.noTemperature && refused("temperature"):
		l.noTemperature = true
		c.tell("takes no temperature of 0, so replies may differ from run to run", "no_temperature=true")
	case c.shorter(text, used, limit):
	default:
		for _, name := range mayDrop {
			if !used.dropped[name] && refused(name) {
				if l.dropped == nil {
					l.dropped = map[string]bool{}
				}
				l.dropped[name] = true
				if name == "logprobs" { // which top_logprobs needs
					l.dropped["top_logprobs"] = true
				}
				c.tell("does not take "+name, "parameters."+name+"=null")
				return true
			}
		}
		return false
	}
	return true
}

// shorter learns the longest reply that an endpoint allows. The caller holds the lock.
func (c *Client) shorter(text string, used wanted, limit int) bool {
	most := 0
	if m := replyMostRE.FindStringSubmatch(text); m != nil {
		most = number(m[1])
	} else if m := contextRE.FindStringSubmatch(text); m != nil {
		if p := promptRE.FindStringSubmatch(text); p != nil {
			most = number(m[1]) - number(p[1])
		}
	}
	if most < 1 || most >= limit || used.mostOut > 0 && most >= used.mostOut {
		return false
	}
	c.learned.mostOut = most
	c.tell(fmt.Sprintf("allows replies of at most %d tokens", most), "max_tokens="+strconv.Itoa(most))
	return true
}

// smallerBatch reads the answer to an embedding call that was refused, and says whether the next one will be smaller.
func (c *Client) smallerBatch(err error, sent int) bool {
	var a *answered
	if sent < 2 || !errors.As(err, &a) || !errors.Is(err, llm.ErrBadRequest) {
		return false
	}
	said := readError(a.body)
	if a.status != 413 && !batchRE.MatchString(said.words+" "+said.param) {
		return false
	}
	most := 0
	for _, text := range numberRE.FindAllString(said.words, -1) {
		if n := number(text); n < sent {
			most = max(most, n)
		}
	}
	if most == 0 {
		most = sent / 2
	}
	l := &c.learned
	l.mu.Lock()
	defer l.mu.Unlock()
	if most < l.batch {
		l.batch = most
		c.tell(fmt.Sprintf("takes at most %d texts in one embedding call", most), "embed_batch="+strconv.Itoa(most))
	}
	return true
}

// tellAlone is tell for a caller without the lock, and of what no setting changes.
func (c *Client) tellAlone(what string) {
	c.learned.mu.Lock()
	defer c.learned.mu.Unlock()
	c.tell(what, "")
}

// tell says once what an endpoint asked for, and which setting does the same from the start. The caller holds the lock.
func (c *Client) tell(what, setting string) {
	if c.learned.warned[what] {
		return
	}
	c.learned.warned[what] = true
	line := c.config.Model + ": the endpoint " + what
	if setting != "" {
		line += " (--model-set " + setting + " says so from the start)"
	}
	c.config.Warn(line)
}

// advice names the setting for a refusal that no hint resolved.
func advice(err error) string {
	var a *answered
	if !errors.As(err, &a) || !errors.Is(err, llm.ErrBadRequest) {
		return ""
	}
	said := readError(a.body)
	text := said.words + " " + said.param
	for _, x := range [][2]string{
		{"max_tokens", "max_tokens=N, --model-set reasoning_tokens=N or --model-set max_completion_tokens=true"}, {"max_completion_tokens", "max_tokens=N or --model-set reasoning_tokens=N"},
		{"temperature", "no_temperature=true or --model-set parameters.temperature=1"}, {"reasoning_effort", "reasoning_effort=VALUE"},
		{"context", "context_tokens=N"}, {"api-version", "query.api-version=VERSION"},
	} {
		if mentions(text, x[0]) {
			return " (to change what is sent: --model-set " + x[1] + ")"
		}
	}
	return ""
}

// mentions says whether a text has a name in it as a word of its own.
func mentions(text, name string) bool {
	for rest := text; ; {
		i := strings.Index(rest, name)
		if i < 0 {
			return false
		}
		after := rest[i+len(name):]
		if (i == 0 || !wordByte(rest[i-1])) && (after == "" || !wordByte(after[0])) {
			return true
		}
		rest = after
	}
}

func wordByte(b byte) bool {
	return b == '_' || b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z'
}

// number reads digits with commas; 0 if they are too many.
func number(text string) int {
	n, err := strconv.Atoi(strings.ReplaceAll(text, ",", ""))
	if err != nil {
		return 0
	}
	return n
}
