package text

import (
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

var (
	compactRE = regexp.MustCompile(`^\s*((?:19|20)\d{2})(\d{2})(\d{2})(?:[T_ -]?(\d{2}):?(\d{2}):?(\d{2})?Z?)?\s*$`)
	unixRE    = regexp.MustCompile(`^\s*(\d{10})(?:\.\d+|\d{3})?\s*$`)
	isoDayRE  = regexp.MustCompile(`(?i)^\s*(\d{4})-?w(\d{2})-?([1-7])\s*$`)
)

// parseCompact reads dates without separators (20250303, 20250303T100400Z), Unix times in seconds or milliseconds, and days of
// an ISO week (2025-W10-1).
func parseCompact(s string) (t time.Time, ok bool) {
	if m := unixRE.FindStringSubmatch(s); m != nil {
		seconds, _ := strconv.ParseInt(m[1], 10, 64) // ten digits
		t = time.Unix(seconds, 0).UTC()
		return t, t.Year() <= 2200
	}
	if m := compactRE.FindStringSubmatch(s); m != nil {
		return civil(atoi(m[1]), atoi(m[2]), atoi(m[3]), atoi(m[4]), atoi(m[5]), atoi(m[6]))
	}
	if m := isoDayRE.FindStringSubmatch(s); m != nil {
		year, week := atoi(m[1]), atoi(m[2])
		fourth := time.Date(year, 1, 4, 0, 0, 0, 0, time.UTC) // which is in the first week always
		t = fourth.AddDate(0, 0, 7*(week-1)+atoi(m[3])-1-(int(fourth.Weekday())+6)%7)
		y, w := t.ISOWeek()
		return t, y == year && w == week && year >= 1500 && year <= 2200
	}
	return time.Time{}, false
}

// civil is a day and time of day; ok is false if there is no such.
func civil(year, month, day, hour, minute, second int) (t time.Time, ok bool) {
	t = time.Date(year, time.Month(month), day, hour, minute, second, 0, time.UTC)
	return t, t.Year() == year && int(t.Month()) == month && t.Day() == day && t.Hour() == hour && minute < 60 && second < 60 && year >= 1500 && year <= 2200
}

// atoi reads a few digits; 0 for none.
func atoi(s string) int {
	n, _ := strconv.Atoi(s)
	return n
}

var (
	eastAsianRE = regexp.MustCompile(`(令和|平成|昭和|民國|民国)?\s*(\d{1,4}|元)\s*[年년]\s*(\d{1,2})\s*[月월]\s*(\d{1,2})\s*[日号號일]?`)
	// eastClockRE finds a time of day beside such a date, with the half of the day before it.
	eastClockRE = regexp.MustCompile(`(上午|凌晨|早上|中午|下午|晚上|午前|午後|오전|오후)?\s*(\d{1,2})\s*(?::|：|時|时|點|点|시)\s*(?:(\d{1,2})\s*(?:(?::|：)(\d{2})|分|분)?)?`)
	// eras are the years before the first of each.
	eras = map[string]int{"令和": 2018, "平成": 1988, "昭和": 1925, "民國": 1911, "民国": 1911}
)

// parseEastAsian reads dates with the signs for year, month and day (2025年3月3日 下午2:30, 令和7年3月3日, 2025년 3월 3일 오후
// 2시), whose order nothing can change.
func parseEastAsian(s string) (t time.Time, ok bool) {
	m := eastAsianRE.FindStringSubmatchIndex(s)
	if m == nil {
		return time.Time{}, false
	}
	group := func(i int) string {
		if m[2*i] < 0 {
			return ""
		}
		return s[m[2*i]:m[2*i+1]]
	}
	year := max(1, atoi(group(2))) // the first year of an era is 元
	if before, ok := eras[group(1)]; ok {
		year += before
	} else if len(group(2)) != 4 {
		return time.Time{}, false
	}
	rest := s[:m[0]] + " " + s[m[1]:]
	hour, minute, second := 0, 0, 0
	if c := eastClockRE.FindStringSubmatch(rest); c != nil {
		hour, minute, second = atoi(c[2]), atoi(c[3]), atoi(c[4])
		switch c[1] {
		case "下午", "晚上", "午後", "오후":
			if hour < 12 {
				hour += 12
			}
		case "上午", "凌晨", "早上", "午前", "오전":
			hour %= 12
		}
		rest = strings.Replace(rest, c[0], " ", 1)
	}
	if numberRE.MatchString(rest) {
		return time.Time{}, false
	}
	return civil(year, atoi(group(3)), atoi(group(4)), hour, minute, second)
}

// weekdayNames are the days from Sunday to Saturday, in English and in languages that put the day first. Three letters that
// begin two of them begin the same day in both.
var weekdayNames = [][]string{
	strings.Fields("sunday monday tuesday wednesday thursday friday saturday"),
	strings.Fields("sonntag montag dienstag mittwoch donnerstag freitag samstag"),
	strings.Fields("domingo lunes martes miércoles jueves viernes sábado"),
	strings.Fields("dimanche lundi mardi mercredi jeudi vendredi samedi"),
	strings.Fields("domenica lunedì martedì mercoledì giovedì venerdì sabato"),
	strings.Fields("zondag maandag dinsdag woensdag donderdag vrijdag zaterdag"),
	strings.Fields("niedziela poniedziałek wtorek środa czwartek piątek sobota"),
	strings.Fields("domingo segunda terça quarta quinta sexta sábado"),
	strings.Fields("воскресенье понедельник вторник среда четверг пятница суббота"),
}

// weekdayIn returns the day of the week that a text names in full or by three letters or more, nil if it names none, and
// whether the name is not English.
func weekdayIn(s string) (day *time.Weekday, foreign bool) {
	words := wordOfRE.FindAllString(strings.ToLower(s), -1)
	for i, names := range weekdayNames {
		for _, w := range words {
			for d, name := range names {
				if utf8.RuneCountInString(w) >= 3 && strings.HasPrefix(name, w) {
					found := time.Weekday(d)
					return &found, i > 0
				}
			}
		}
	}
	return nil, false
}
