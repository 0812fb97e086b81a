package llm

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// longestRetryAfter bounds what ParseRetryAfter returns, so that no arithmetic on it overflows.
const longestRetryAfter = 30 * 24 * time.Hour

// ParseRetryAfter reads the value of a Retry-After header (RFC 9110, section 10.2.3): seconds, here also with a fraction
// as some endpoints send them, or an HTTP date, which is compared with now. The result lies between 0 and 30 days; ok is
// false if value is neither form.
func ParseRetryAfter(value string, now time.Time) (wait time.Duration, ok bool) {
	value = strings.TrimSpace(value)
	if value == "" {
		return 0, false
	}
	if strings.Trim(value, "0123456789.") == "" { // rules out the words and exponents that ParseFloat knows
		seconds, err := strconv.ParseFloat(value, 64)
		if err != nil && seconds == 0 {
			return 0, false
		}
		return time.Duration(min(seconds, longestRetryAfter.Seconds()) * float64(time.Second)), true
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0, false
	}
	return min(max(0, at.Sub(now)), longestRetryAfter), true
}
