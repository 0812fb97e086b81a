package openai

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/budgetmem/budgetmem/tiers/llm"
)

// longestPause bounds what x-ratelimit headers are believed; a limit by the day says itself, by 429, that it is reached.
const longestPause = time.Minute

// ratePause is how long an endpoint's x-ratelimit headers ask to be left alone: until its limit of requests is reset if none is left,
// or its limit of tokens if what is left is less than a call like the one that was answered, of so many bytes, may need. 0 if they say
// nothing of the kind.
func ratePause(h http.Header, bytes int, now time.Time) time.Duration {
	var pause time.Duration
	for kind, need := range map[string]int{"requests": 1, "tokens": bytes / 4} {
		left, err := strconv.ParseFloat(strings.TrimSpace(h.Get("X-Ratelimit-Remaining-"+kind)), 64)
		if err != nil || left >= float64(need) {
			continue
		}
		if wait, ok := parseReset(h.Get("X-Ratelimit-Reset-"+kind), now); ok {
			pause = max(pause, min(wait, longestPause))
		}
	}
	return pause
}

// parseReset reads when a limit is reset: a duration such as 6m0s or 20ms, seconds, or a time in RFC 3339 or of Unix.
func parseReset(value string, now time.Time) (time.Duration, bool) {
	value = strings.TrimSpace(value)
	if d, err := time.ParseDuration(value); err == nil {
		return max(0, d), true
	}
	if t, err := time.Parse(time.RFC3339, value); err == nil {
		return max(0, t.Sub(now)), true
	}
	wait, ok := llm.ParseRetryAfter(value, now)
	if unix := now.Add(-24 * time.Hour); ok && wait.Seconds() >= longestSeconds {
		if seconds, err := strconv.ParseFloat(value, 64); err == nil && seconds > float64(unix.Unix()) && seconds < 1e11 {
			return max(0, time.Unix(int64(seconds), 0).Sub(now)), true
		}
	}
	return wait, ok
}

// longestSeconds is the most that ParseRetryAfter returns; a Unix time is beyond it.
const longestSeconds = 30 * 24 * 3600
