package retrieve

import (
	"regexp"
	"strconv"
	"strings"
)

// months maps the first three letters of a month's name to its number.
var months = map[string]int{"jan": 1, "feb": 2, "mar": 3, "apr": 4, "may": 5, "jun": 6, "jul": 7, "aug": 8, "sep": 9, "oct": 10, "nov": 11, "dec": 12}

const monthPat = `(jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)`

var (
	numericDateRE = regexp.MustCompile(`\b((?:19|20)\d\d)[-/.](\d{1,2})[-/.](\d{1,2})\b`)
	dayMonthRE    = regexp.MustCompile(`\b(\d{1,2})(?:st|nd|rd|th)?(?: of)? ` + monthPat + `\b`)
	monthDayRE    = regexp.MustCompile(`\b` + monthPat + ` (\d{1,2})(?:st|nd|rd|th)?\b`)
	monthYearRE   = regexp.MustCompile(`\b` + monthPat + `,? (?:of )?(?:19|20)\d\d\b|\b(?:in|on|since|of|during|until|by|last|this|early|late|mid) ` + monthPat + `\b`)
	yearRE        = regexp.MustCompile(`\b(?:19|20)\d\d\b`)
)

// dateParts returns the days, months and years that a text names, as "d8", "m5", "y2023". It is for matching a question's date with a
// session's, so a bare "may" or "march" does not count.
func dateParts(text string) map[string]bool {
	text = strings.ToLower(text)
	parts := map[string]bool{}
	number := func(kind, digits string) {
		if n, err := strconv.Atoi(digits); err == nil {
			parts[kind+strconv.Itoa(n)] = true
		}
	}
	month := func(name string) {
		if len(name) >= 3 {
			parts["m"+strconv.Itoa(months[name[:3]])] = true
		}
	}
	for _, m := range numericDateRE.FindAllStringSubmatch(text, -1) {
		number("m", m[2])
		number("d", m[3])
	}
	for _, m := range dayMonthRE.FindAllStringSubmatch(text, -1) {
		number("d", m[1])
		month(m[2])
	}
	for _, m := range monthDayRE.FindAllStringSubmatch(text, -1) {
		month(m[1])
		number("d", m[2])
	}
	for _, m := range monthYearRE.FindAllStringSubmatch(text, -1) {
		month(m[1])
		month(m[2])
	}
	for _, y := range yearRE.FindAllString(text, -1) {
		number("y", y)
	}
	return parts
}
