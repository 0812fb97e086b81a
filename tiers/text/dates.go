package text

import (
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// DateExpr is a date expression found in a text.
type DateExpr struct {
	// Text is the expression as it stands; Start and End are its byte offsets.
	Text       string
	Start, End int
	rule       *dateRule
	groups     []string
}

// dateRule finds one kind of expression and says what it means on a given day. Groups are the submatches, lower-cased.
// resolve returns "" when the expression means no particular time there.
//
// Text without any of the words is not searched: most of what is said names no date, and two dozen patterns take long.
type dateRule struct {
	re      *regexp.Regexp
	words   []string // lower-cased parts, of which every match holds one
	resolve func(groups []string, said time.Time) string
	vague   bool
}

var (
	digits   = strings.Split("0123456789", "")
	months   = []string{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}
	weekdays = []string{"mon", "tue", "wed", "thu", "fri", "sat", "sun"}
	seasons  = []string{"spring", "summer", "fall", "autumn", "winter"}
	units    = []string{"day", "night", "week", "month", "year"}
	recent   = []string{"recently", "lately", "the other"}
)

const (
	numberPat  = `(?:\d{1,3}(?:[.,]\d{1,2})?|half an?|an?|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|a couple(?: of)?|couple(?: of)?|a few|few|several)`
	weekdayPat = `(?:mon(?:day)?|tue(?:s(?:day)?)?|wed(?:nesday)?|thu(?:rs(?:day)?)?|fri(?:day)?|sat(?:urday)?|sunday)`
	monthPat   = `(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sep(?:t(?:ember)?)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)`
	seasonPat  = `(?:spring|summer|fall|autumn|winter)`
	unitPat    = `(day|night|week|weekend|month|year)`
)

// rule compiles a pattern that must stand between word boundaries.
func rule(words []string, pattern string, resolve func(g []string, said time.Time) string) dateRule {
	return dateRule{re: regexp.MustCompile(`(?i)\b` + pattern + `\b`), words: words, resolve: resolve}
}

func (r dateRule) mayOccur(lower string) bool {
	return slices.ContainsFunc(r.words, func(w string) bool { return strings.Contains(lower, w) })
}

// dateRules are tried in order; of overlapping matches the one of the earlier rule stays.
var dateRules = []dateRule{
	rule(digits, `(\d{1,2})(?:st|nd|rd|th)?(?: of)? (`+monthPat+`)\.?,?(?: (\d{4}))?`, func(g []string, said time.Time) string {
		return monthDay(g[1], g[0], g[2], said)
	}),
	rule(digits, `(`+monthPat+`)\.? (\d{1,2})(?:st|nd|rd|th)?(?:,? (\d{4}))?`, func(g []string, said time.Time) string {
		return monthDay(g[0], g[1], g[2], said)
	}),
	rule(digits, `(`+monthPat+`),? (?:of )?((?:19|20)\d\d)`, func(g []string, _ time.Time) string { return monthName(g[0]) + " " + g[1] }),
	rule(digits, `(\d{4}[-/]\d{1,2}[-/]\d{1,2})`, func(g []string, _ time.Time) string {
		if t, ok := ParseTime(g[0]); ok {
			return Day(t)
		}
		return ""
	}),
	rule(digits, `(?:in|since|until|till|by|during|of|back in|around) ((?:19|20)\d\d)`, func(g []string, _ time.Time) string { return g[0] }),
	rule(months, `(?:in |this |late |early |since |until |by |during |for )((?:late |early )?)(`+monthPat+`)`, func(g []string, said time.Time) string {
		return bareMonth(g[1], said, 0)
	}),
	rule(months, `(last|next) (`+monthPat+`)`, func(g []string, said time.Time) string {
		return bareMonth(g[1], said, sign(g[0]))
	}),
	rule(digits, `(?:on |for |by )?the (\d{1,2})(?:st|nd|rd|th)`, func(g []string, said time.Time) string {
		return dayOfMonth(g[0], said)
	}),
	{regexp.MustCompile(`(?i)\b(?:recently|lately|the other (?:day|night|week|weekend))\b`), recent, func(_ []string, said time.Time) string {
		return "shortly before " + Day(said)
	}, true},
	rule([]string{"yesterday"}, `the day before yesterday`, func(_ []string, said time.Time) string { return Day(said.AddDate(0, 0, -2)) }),
	rule([]string{"tomorrow"}, `the day after tomorrow`, func(_ []string, said time.Time) string { return Day(said.AddDate(0, 0, 2)) }),
	rule([]string{"yesterday", "last night", "last evening"}, `(?:yesterday|last night|last evening)`, func(_ []string, said time.Time) string { return Day(said.AddDate(0, 0, -1)) }),
	rule([]string{"tomorrow"}, `tomorrow`, func(_ []string, said time.Time) string { return Day(said.AddDate(0, 0, 1)) }),
	rule([]string{"today", "tonight", "this "}, `(?:today|tonight|this (?:morning|afternoon|evening)|earlier today)`, func(_ []string, said time.Time) string { return Day(said) }),
	rule(weekdays, `(last|this past|past|previous|next|this coming|this|on) (`+weekdayPat+`)(?: (?:night|morning|evening|afternoon))?`, weekdayRule),
	rule(units, `(last|this past|the past|past|previous|the previous|next|this coming|the coming|this|over the|the) (weekend|week|month|year|day)`, unitRule),
	rule(seasons, `(last|this past|past|next|this coming|this) (`+seasonPat+`)`, seasonRule),
	rule([]string{"ago", "back", "earlier", "before", "from now", "later"}, `(`+numberPat+`) `+unitPat+`s? (ago|back|earlier|before|from now|later)`, distanceRule),
	rule(units, `in (`+numberPat+`) `+unitPat+`s?`, func(g []string, said time.Time) string {
		return distanceRule([]string{g[0], g[1], "later"}, said)
	}),
	rule([]string{"the last", "the past", "the next", "the coming"}, `(?:in|over|during|for) the (last|past|next|coming) (`+numberPat+`) `+unitPat+`s?`, func(g []string, said time.Time) string {
		return "the " + g[1] + " " + g[2] + "s " + beforeAfter(sign(g[0])) + " " + Day(said)
	}),
	rule([]string{"month", "year"}, `(?:for |about |almost |over )?(`+numberPat+`) (month|year)s?(?: now| already)?`, durationRule),
	rule(digits, `((?:1[5-9]|20)\d\d)`, func(g []string, _ time.Time) string { return g[0] }),
}

// FindDates returns the date expressions of text in order, without overlaps.
func FindDates(text string) []DateExpr {
	var found []DateExpr
	lower := strings.ToLower(text)
	for i := range dateRules {
		r := &dateRules[i]
		if !r.mayOccur(lower) {
			continue
		}
		for _, m := range r.re.FindAllStringSubmatchIndex(text, -1) {
			e := DateExpr{Text: text[m[0]:m[1]], Start: m[0], End: m[1], rule: r}
			if partOfNumber(text, e.Start, e.End) || slices.ContainsFunc(found, func(f DateExpr) bool { return e.Start < f.End && f.Start < e.End }) {
				continue
			}
			for g := 2; g < len(m); g += 2 {
				group := ""
				if m[g] >= 0 {
					group = strings.ToLower(text[m[g]:m[g+1]])
				}
				e.groups = append(e.groups, group)
			}
			found = append(found, e)
		}
	}
	slices.SortFunc(found, func(a, b DateExpr) int { return a.Start - b.Start })
	return found
}

var (
	countRE = regexp.MustCompile(`(?i)^(?:\d|` + numberPat + `\b)`)
	// numberBeforeRE finds a number that continues in the following text: decimals, ranges, "twenty-" before "five".
	numberBeforeRE = regexp.MustCompile(`(?i)(?:\d[.,/:]|\d\s?[–—-]\s?|\d\s+(?:or|to|and)\s+|` +
		`\b(?:half|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|(?:thir|four|fif|six|seven|eigh|nine)teen|(?:twen|thir|for|fif|six|seven|eigh|nine)ty|hundred|thousand)(?:\s?[–—-]\s?|\s+(?:(?:or|to|and)\s+)?))$`)
	fractionRE = regexp.MustCompile(`\d[.,]$`)
	// numericDateRE finds the day and the month before a year.
	numericDateRE = regexp.MustCompile(`(?:^|[^\d./-])\d{1,2}([./-])\d{1,2}[./-]$`)
	// numberAfterRE finds what continues a number: decimals, thousands, the minutes of a time, "and a half".
	numberAfterRE = regexp.MustCompile(`(?i)^(?:[.:]\d|,\d{1,3}(?:\D|$)|\s+and\s+a\s+half\b)`)
)

// lookAround is how many bytes before an expression are searched for a number.
const lookAround = 24

// partOfNumber reports whether what looks like a date expression is only a part of a longer number, as "5 years ago" is of
// "1.5 years ago" and of "twenty-five years ago", and May 10 of "May 10.5".
func partOfNumber(text string, start, end int) bool {
	expr, before := text[start:end], text[max(0, start-lookAround):start]
	if len(expr) == 4 && isDigit(expr[0]) { // a year
		if fractionRE.MatchString(before) && !numericDateRE.MatchString(before) {
			return true
		}
	} else if countRE.MatchString(expr) && numberBeforeRE.MatchString(before) {
		return true
	}
	last := expr[len(expr)-1]
	after := text[end:min(len(text), end+lookAround)]
	return numberAfterRE.MatchString(after) && (isDigit(last) || strings.HasPrefix(strings.TrimLeft(after, " \t\n"), "and"))
}

// Resolve returns the time that the expression names when it is said on the given day, at the precision it has:
// "7 May 2023", "the Friday before 15 July 2023", "the week before 9 June 2023", "June 2023", "2022". A weekday or a week
// stays tied to the day it was counted from, because "last Friday" said on a Saturday can mean either. It returns "" for
// an expression that names no time.
func (e DateExpr) Resolve(said time.Time) string {
	if !said.IsZero() {
		return e.rule.resolve(e.groups, said)
	}
	// Without a day to count from only what does not depend on it stands.
	a := e.rule.resolve(e.groups, time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC))
	if a != e.rule.resolve(e.groups, time.Date(2003, 6, 15, 0, 0, 0, 0, time.UTC)) {
		return ""
	}
	return a
}

// Vague reports whether the expression says no more than that a thing was not long ago ("lately", "the other day").
func (e DateExpr) Vague() bool { return e.rule.vague }

func sign(word string) int {
	switch word {
	case "last", "this past", "past", "the past", "previous", "the previous", "ago", "back", "earlier", "before":
		return -1
	case "next", "this coming", "the coming", "coming", "later", "from now":
		return 1
	}
	return 0
}

func beforeAfter(sign int) string {
	if sign < 0 {
		return "before"
	}
	return "after"
}

func monthOf(name string) time.Month {
	for m := time.January; m <= time.December; m++ {
		if strings.HasPrefix(strings.ToLower(m.String()), name[:3]) {
			return m
		}
	}
	return 0
}

func monthName(name string) string { return monthOf(name).String() }

// monthDay is a day of a month; without a year it is "13 August" of the year nearest to the day it was said.
func monthDay(month, day, year string, said time.Time) string {
	n, _ := strconv.Atoi(day)
	if n < 1 || n > 31 {
		return ""
	}
	if year == "" {
		year = strconv.Itoa(nearestYear(time.Date(said.Year(), monthOf(month), n, 0, 0, 0, 0, time.UTC), said))
	}
	return strconv.Itoa(n) + " " + monthName(month) + " " + year
}

// nearestYear is the year in which a date without a year lies closest to the day it was said.
func nearestYear(t, said time.Time) int {
	const half = 183 * 24 * time.Hour
	switch d := t.Sub(said); {
	case d > half:
		return t.Year() - 1
	case d < -half:
		return t.Year() + 1
	}
	return t.Year()
}

// bareMonth is a month without a year: the last, the next or the nearest one.
func bareMonth(month string, said time.Time, dir int) string {
	m := monthOf(month)
	year := nearestYear(time.Date(said.Year(), m, 15, 0, 0, 0, 0, time.UTC), said)
	switch {
	case dir < 0 && m >= said.Month():
		year = said.Year() - 1
	case dir < 0 || dir > 0 && m > said.Month():
		year = said.Year()
	case dir > 0:
		year = said.Year() + 1
	}
	return m.String() + " " + strconv.Itoa(year)
}

// dayOfMonth is "the 15th": of the month it was said in, or of the one before when that is nearer.
func dayOfMonth(day string, said time.Time) string {
	n, _ := strconv.Atoi(day)
	if n < 1 || n > 31 {
		return ""
	}
	t := time.Date(said.Year(), said.Month(), n, 0, 0, 0, 0, time.UTC)
	if t.Sub(said) > 15*24*time.Hour {
		t = time.Date(said.Year(), said.Month()-1, n, 0, 0, 0, 0, time.UTC)
	}
	return Day(t)
}

func weekdayRule(g []string, said time.Time) string {
	for d := time.Sunday; d <= time.Saturday; d++ {
		if strings.HasPrefix(strings.ToLower(d.String()), g[1][:3]) {
			dir := sign(g[0])
			if g[0] == "this" {
				dir = 1
			}
			if dir == 0 { // "on Friday" may look either way
				return "the " + d.String() + " nearest to " + Day(said)
			}
			return "the " + d.String() + " " + beforeAfter(dir) + " " + Day(said)
		}
	}
	return ""
}

func unitRule(g []string, said time.Time) string {
	dir, unit := sign(g[0]), g[1]
	if strings.HasPrefix(g[0], "the") || g[0] == "over the" { // "the weekend"; "the year" alone names none
		switch {
		case unit == "weekend" && dir == 0:
			return "the weekend of " + Day(said)
		case dir == 0:
			return ""
		}
	}
	switch unit {
	case "day":
		return ""
	case "month":
		return time.Date(said.Year(), said.Month()+time.Month(dir), 1, 0, 0, 0, 0, time.UTC).Format("January 2006")
	case "year":
		return strconv.Itoa(said.Year() + dir)
	}
	if dir == 0 {
		return "the " + unit + " of " + Day(said)
	}
	return "the " + unit + " " + beforeAfter(dir) + " " + Day(said)
}

func seasonRule(g []string, said time.Time) string {
	start := map[string]time.Month{"spring": 3, "summer": 6, "fall": 9, "autumn": 9, "winter": 12}[g[1]]
	year := said.Year()
	switch dir := sign(g[0]); {
	case dir < 0 && start+2 >= said.Month():
		year--
	case dir > 0 && start <= said.Month():
		year++
	}
	return g[1] + " " + strconv.Itoa(year)
}

var numberWords = map[string]int{"a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7,
	"eight": 8, "nine": 9, "ten": 10, "eleven": 11, "twelve": 12}

// number reads a count; ok is false for "a few", "1.5" and "half a".
func number(s string) (n int, ok bool) {
	if n, ok = numberWords[s]; ok {
		return n, true
	}
	n, err := strconv.Atoi(s)
	return n, err == nil
}

// fraction reads a count that is no whole number: "1.5", "1,5" or "half a".
func fraction(s string) (float64, bool) {
	if strings.HasPrefix(s, "half") {
		return 0.5, true
	}
	if !strings.ContainsAny(s, ".,") {
		return 0, false
	}
	f, err := strconv.ParseFloat(strings.ReplaceAll(s, ",", "."), 64)
	return f, err == nil
}

// distanceRule resolves "two days ago", "in three weeks", "a few years ago".
func distanceRule(g []string, said time.Time) string {
	dir := sign(g[2])
	n, exact := number(g[0])
	unit := g[1]
	if f, ok := fraction(g[0]); ok {
		switch unit {
		case "month":
			return "about " + said.AddDate(0, 0, dir*int(math.Round(f*365.25/12))).Format("January 2006")
		case "year":
			return "about " + time.Date(said.Year(), said.Month()+time.Month(dir*int(math.Round(f*12))), 1, 0, 0, 0, 0, time.UTC).Format("January 2006")
		}
		if f < 1 {
			return g[0] + " " + unit + " " + beforeAfter(dir) + " " + Day(said)
		}
	}
	if !exact {
		return g[0] + " " + unit + "s " + beforeAfter(dir) + " " + Day(said)
	}
	switch unit {
	case "day", "night":
		return Day(said.AddDate(0, 0, dir*n))
	case "month":
		return time.Date(said.Year(), said.Month()+time.Month(dir*n), 1, 0, 0, 0, 0, time.UTC).Format("January 2006")
	case "year":
		return strconv.Itoa(said.Year() + dir*n)
	}
	if n == 1 {
		return "the " + unit + " " + beforeAfter(dir) + " " + Day(said)
	}
	return g[0] + " " + unit + "s " + beforeAfter(dir) + " " + Day(said)
}

// durationRule resolves how long something has lasted: "for 4 years" said in 2023 is "since 2019".
func durationRule(g []string, said time.Time) string {
	n, exact := number(g[0])
	switch {
	case !exact || g[0] == "a" || g[0] == "an" || g[0] == "one":
		return ""
	case g[1] == "year":
		return "since " + strconv.Itoa(said.Year()-n)
	default:
		return "since " + time.Date(said.Year(), said.Month()-time.Month(n), 1, 0, 0, 0, 0, time.UTC).Format("January 2006")
	}
}
