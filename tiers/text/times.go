package text

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	dateparser "github.com/markusmobius/go-dateparser"
	"github.com/markusmobius/go-dateparser/date"
)

// DateOrder is the order of day, month and year in a date of three numbers. The zero value means that it is not known.
type DateOrder string

// The orders. A date that begins with a year of four digits is read in that order always.
const (
	DMY DateOrder = "dmy"
	MDY DateOrder = "mdy"
	YMD DateOrder = "ymd"
)

// DateOrders lists the orders that ParseDateOrder knows.
func DateOrders() []DateOrder { return []DateOrder{DMY, MDY, YMD} }

// ParseDateOrder reads "dmy", "mdy" or "ymd", in any case; "" is the unknown order. Anything else is an error that lists them.
func ParseDateOrder(s string) (DateOrder, error) {
	o := DateOrder(strings.ToLower(strings.TrimSpace(s)))
	if o != "" && !slices.Contains(DateOrders(), o) {
		return "", fmt.Errorf("order of dates %q: want dmy for 31/12/2025, mdy for 12/31/2025, or ymd for 25/12/31", s)
	}
	return o, nil
}

// words says the order in words.
func (o DateOrder) words() string {
	return map[DateOrder]string{DMY: "day first", MDY: "month first", YMD: "year first"}[o]
}

// Day writes a day as answers want it: "7 May 2023".
func Day(t time.Time) string { return t.Format("2 January 2006") }

// commonLayouts are the forms of date that memories mostly have. The parser for all others takes a hundred times as long,
// and every prompt holds several dates.
var commonLayouts = []string{"3:04 pm on 2 January, 2006", "2006/01/02 (Mon) 15:04", "2 January 2006", "2 January, 2006", "January 2, 2006",
	"2006-01-02", "2006-01-02 15:04", "2006-01-02 15:04:05", time.RFC3339}

// ParseTime reads when a session took place ("1:56 pm on 8 May, 2023", "2023/05/20 (Sat) 02:21", "3 mars 2025"), in any
// language that go-dateparser knows. ok is false for text that holds no full date, for a date that is relative to another
// day ("yesterday"), and for a numeric one that can be read in two ways ("03/04/2025"); a Calendar can read those.
func ParseTime(s string) (t time.Time, ok bool) { return Calendar{}.Parse(s) }

// Calendar reads the times of one history, all numeric dates in one order. The zero value knows no order.
type Calendar struct{ order DateOrder }

// Parse is ParseTime with the order of the calendar.
func (c Calendar) Parse(s string) (t time.Time, ok bool) {
	if t, ok := parseCommon(s); ok {
		return t, true
	}
	return c.parseOther(s)
}

func (c Calendar) parseOther(s string) (t time.Time, ok bool) {
	if len(s) > maxTime || !utf8.ValidString(s) {
		return time.Time{}, false
	}
	s = asciiDigits(s)
	if t, ok := parseCompact(s); ok {
		return t, true
	}
	if eastAsianRE.MatchString(s) {
		return parseEastAsian(s)
	}
	if n, ok := parseNumeric(s); ok {
		return n.in(c.order)
	}
	return parseAnyTime(s)
}

// Normalize returns a time in a form that ParseTime reads at once, if the calendar can read it and the form is not such
// already; any other time as it is.
func (c Calendar) Normalize(s string) string {
	if _, ok := parseCommon(s); ok {
		return s
	}
	t, ok := c.parseOther(s)
	switch {
	case !ok:
		return s
	case t.Hour() == 0 && t.Minute() == 0 && t.Second() == 0:
		return t.Format("2006-01-02")
	}
	return t.Format("2006-01-02 15:04:05")
}

func parseCommon(s string) (time.Time, bool) {
	for _, layout := range commonLayouts {
		if t, err := time.Parse(layout, s); err == nil && t.Year() > 0 {
			return t, true
		}
	}
	return time.Time{}, false
}

// maxTime bounds what is read as a time, in bytes.
const maxTime = 100

var (
	isoWeekRE = regexp.MustCompile(`(?i)\b\d{4}-?w\d`) // without its day it is no date
	clockRE   = regexp.MustCompile(`(?i)(\d{1,2})(?:[:h.](\d{2}))?(?:[:.](\d{2})(?:[.,]\d+)?)?\s*(a\.?\s?m\b\.?|p\.?\s?m\b\.?)?`)
)

// parseAnyTime reads a date that names its month in words. What depends on the day on which it is read is
// refused, since such a time would change its meaning every day, and so is what depends on the order of numbers.
func parseAnyTime(s string) (t time.Time, ok bool) {
	if isoWeekRE.MatchString(s) || !mayHoldDate(s) {
		return time.Time{}, false
	}
	locale := ""
	for i, now := range []time.Time{time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2003, 6, 15, 7, 8, 9, 0, time.UTC)} {
		cfg := &dateparser.Configuration{CurrentTime: now, DefaultTimezone: time.UTC, RequiredParts: []string{"day", "month", "year"},
			DateOrder: []dateparser.DateOrder{dateparser.DMY, dateparser.MDY}[i]}
		d, err := parseDate(cfg, s)
		if err != nil || d.IsZero() || i > 0 && !d.Time.Equal(t) {
			return time.Time{}, false
		}
		t, locale = d.Time, d.Locale
	}
	if strings.HasPrefix(locale, "th") && t.Year() > 2400 { // the Buddhist era
		t = t.AddDate(-543, 0, 0)
	}
	if t.Year() < 1000 || t.Year() > 2200 {
		return time.Time{}, false
	}
	return t, true
}

// parseDate calls the library, which is not proof against every input, and takes a panic for an error.
func parseDate(cfg *dateparser.Configuration, s string) (d date.Date, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("reading the date %q: %v", s, r)
		}
	}()
	return dateparser.Parse(cfg, s)
}

// mayHoldDate is false for most texts that are no date, such as titles, and for all on which the library, which tries every
// language, would spend half a second: a date names its month by a word and has two numbers besides the clock, and few more.
func mayHoldDate(s string) bool {
	numbers := len(numberRE.FindAllString(timeOfDayRE.ReplaceAllString(s, " "), maxNumbers+1))
	return numbers >= 2 && numbers <= maxNumbers && (asciiWordRE.MatchString(s) || strings.IndexFunc(s, func(r rune) bool { return r > unicode.MaxASCII && unicode.IsLetter(r) }) >= 0)
}

// maxNumbers is how many numbers a time may have besides the clock.
const maxNumbers = 6

var (
	numberRE    = regexp.MustCompile(`\d+`)
	timeOfDayRE = regexp.MustCompile(`\d{1,2}:\d{2}(?::\d{2})?(?:[.,]\d+)?`)
	asciiWordRE = regexp.MustCompile(`[a-zA-Z]{3}`)
)

// asciiDigits writes the decimal digits of all scripts as 0 to 9.
func asciiDigits(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x80 || !unicode.Is(unicode.Nd, r) {
			return r
		}
		for _, x := range unicode.Nd.R16 {
			if rune(x.Lo) <= r && r <= rune(x.Hi) {
				return '0' + (r-rune(x.Lo))%10
			}
		}
		for _, x := range unicode.Nd.R32 {
			if rune(x.Lo) <= r && r <= rune(x.Hi) {
				return '0' + (r-rune(x.Lo))%10
			}
		}
		return r
	}, s)
}

// numericTime is a date of three numbers with the time of day.
type numericTime struct {
	text    string        // the date as written
	parts   [3]int        // in the order in which they are written
	width   [3]int        // digits
	clock   time.Duration // since midnight
	day     *time.Weekday // named beside it
	foreign bool          // the name is not English
}

var (
	tripleRE = regexp.MustCompile(`(\d{1,4})(\s?[./-]\s?)(\d{1,2})(\s?[./-]\s?)(\d{1,4})`)
	// besideClockRE finds what numbers may stand beside a date: the time of day and the zone.
	besideClockRE = regexp.MustCompile(`(?i)\d{1,2}[:h.]\d{2}(?:[:.]\d{2})?(?:[.,]\d+)?|\d{1,2}\s*(?:[ap]\.?\s?m\b|h\b|uhr\b)|[+-]\d{2}:?\d{2}\b`)
	wordOfRE      = regexp.MustCompile(`\pL+`)
)

// maxWords is how many words may stand beside a numeric date, such as "Sat", "at" and "UTC"; more are a text.
const maxWords = 4

// parseNumeric finds the date of three numbers in a time; ok is false if there is not exactly one.
func parseNumeric(s string) (n numericTime, ok bool) {
	if len(s) > maxTime || !utf8.ValidString(s) {
		return n, false
	}
	s = asciiDigits(s)
	m := tripleRE.FindStringSubmatchIndex(s)
	if m == nil {
		return n, false
	}
	group := func(i int) string { return s[m[2*i]:m[2*i+1]] }
	before, after := s[:m[0]], s[m[1]:]
	rest := before + " " + strings.TrimPrefix(strings.TrimPrefix(after, "."), ".")
	switch {
	case strings.TrimSpace(group(2)) != strings.TrimSpace(group(4)),
		endsInNumber(before), startsInNumber(after),
		numberRE.MatchString(besideClockRE.ReplaceAllString(rest, " ")), len(wordOfRE.FindAllString(rest, maxWords+1)) > maxWords:
		return n, false
	}
	n.text = s[m[0]:m[1]]
	for i, g := range []int{1, 3, 5} {
		n.parts[i], _ = strconv.Atoi(group(g)) // at most four digits
		n.width[i] = len(group(g))
	}
	if n.clock, ok = clock(rest); !ok {
		return n, false
	}
	n.day, n.foreign = weekdayIn(rest)
	return n, true
}

// endsInNumber and startsInNumber report that a date continues beside the part that was found, as in 10.0.12.2025 or 1/2/2025/4.
func endsInNumber(before string) bool {
	s := strings.TrimRight(before, "./-")
	return s != "" && isDigit(s[len(s)-1])
}

func startsInNumber(after string) bool {
	s := strings.TrimLeft(after, "./-")
	return s != "" && isDigit(s[0])
}

func isDigit(b byte) bool { return '0' <= b && b <= '9' }

// clock reads the time of day beside a date, 0 if there is none; ok is false for an impossible one.
func clock(s string) (d time.Duration, ok bool) {
	for _, m := range clockRE.FindAllStringSubmatch(s, -1) {
		if m[2] == "" && m[4] == "" {
			continue // a number that is no time of day
		}
		hour, _ := strconv.Atoi(m[1])
		minute, _ := strconv.Atoi("0" + m[2])
		second, _ := strconv.Atoi("0" + m[3])
		switch half := strings.ToLower(m[4]); {
		case half == "":
		case hour < 1 || hour > 12:
			return 0, false
		case half[0] == 'p':
			hour = hour%12 + 12
		default:
			hour %= 12
		}
		if hour > 24 || minute > 59 || second > 60 {
			return 0, false
		}
		return time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute + time.Duration(second)*time.Second, true
	}
	return 0, true
}

// read returns the time in one order; ok is false if it cannot be read so.
func (n numericTime) read(o DateOrder) (time.Time, bool) {
	var day, month, year, w int
	switch o {
	case DMY:
		day, month, year, w = n.parts[0], n.parts[1], n.parts[2], n.width[2]
	case MDY:
		month, day, year, w = n.parts[0], n.parts[1], n.parts[2], n.width[2]
	case YMD:
		year, month, day, w = n.parts[0], n.parts[1], n.parts[2], n.width[0]
	}
	switch w {
	case 4:
		if year < 1500 || year > 2200 { // 1404/01/20 is of another calendar
			return time.Time{}, false
		}
	case 2:
		if year += 1900; year < 1969 { // as POSIX reads years of two digits
			year += 100
		}
	default:
		return time.Time{}, false
	}
	t := time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC)
	if t.Day() != day || int(t.Month()) != month {
		return time.Time{}, false
	}
	return t.Add(n.clock), true
}

// orders lists the orders in which the time can be read, without those that a weekday beside it rules out.
func (n numericTime) orders() []DateOrder {
	var out, named []DateOrder
	for _, o := range DateOrders() {
		if t, ok := n.read(o); ok {
			out = append(out, o)
			if n.day != nil && t.Weekday() == *n.day {
				named = append(named, o)
			}
		}
	}
	if len(named) > 0 {
		return named
	}
	return out
}

// in returns the time in the given order. Without one, or if it cannot be read so, it must mean the same in all orders in which
// it can be read.
func (n numericTime) in(o DateOrder) (time.Time, bool) {
	if n.width[0] == 4 {
		return n.read(YMD)
	}
	if t, ok := n.read(o); ok {
		return t, true
	}
	var t time.Time
	for i, o := range n.orders() {
		u, _ := n.read(o)
		if i > 0 && !u.Equal(t) {
			return time.Time{}, false
		}
		t = u
	}
	return t, !t.IsZero()
}
