package text

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParseTimeForms(t *testing.T) {
	for in, want := range map[string]string{
		// Languages that the date library knows.
		"3 mars 2025": "2025-03-03", "3. März 2025": "2025-03-03", "3 de marzo de 2025": "2025-03-03", "2025年3月3日": "2025-03-03",
		"2025年3月3日 下午2:30": "2025-03-03 14:30:00", "3 марта 2025 г., 14:05": "2025-03-03 14:05:00", "2025년 3월 3일": "2025-03-03",
		"٣ مارس ٢٠٢٥": "2025-03-03", "lundi 3 mars 2025 à 14:00": "2025-03-03 14:00:00", "3 Mart 2025": "2025-03-03",
		"3 มีนาคม 2568": "2025-03-03", "१२ अप्रैल २०२५": "2025-04-12", "12 avr. 2025": "2025-04-12",
		"May 8 2023 at noon": "2023-05-08 12:00:00", "1740996240": "2025-03-03 10:04:00",
		"2025年4月12日": "2025-04-12", "2025年4月12日 上午10:04": "2025-04-12 10:04:00", "2025年4月12日(土) 10時04分": "2025-04-12 10:04:00",
		"2025 年 4 月 12 日 下午 2 点": "2025-04-12 14:00:00", "令和7年4月12日": "2025-04-12", "平成元年1月8日": "1989-01-08", "民國114年4月12日": "2025-04-12",
		"2025년 4월 12일 오후 3:04": "2025-04-12 15:04:00", "2025년 4월 12일 토요일 오전 12시 30분": "2025-04-12 00:30:00", "２０２５年４月１２日": "2025-04-12",
		"2025年13月1日": "", "25年4月12日": "", "2025年4月12日 3人": "", "12 de abril de 2025 às 14:30": "2025-04-12 14:30:00", "12 aprile 2025": "2025-04-12",
		"12 thg 4 2025": "2025-04-12", "2025. április 12.": "2025-04-12", "12 Απριλίου 2025": "2025-04-12", "12 ເມສາ 2025": "2025-04-12",
		// Without separators, as Unix times, as days of a week.
		"20250412": "2025-04-12", "20250412T100400Z": "2025-04-12 10:04:00", "20250412_1004": "2025-04-12 10:04:00", "20251304": "", "12345678": "",
		"1740996240000": "2025-03-03 10:04:00", "1740996240.123": "2025-03-03 10:04:00", "9999999999": "", "2025-W15-6": "2025-04-12", "2025W156": "2025-04-12",
		"2025-W54-1": "", "2025-W15": "",
		// A weekday in another language, and half a day as Spanish writes it.
		"sábado 12/04/2025": "2025-04-12", "Fr 13/04/2025": "2025-04-13", "сб, суббота 12/04/2025": "2025-04-12", "13/04/2025, 7:02 p. m.": "2025-04-13 19:02:00",
		// Numbers that can be read in one way.
		"13/04/2025 10:00": "2025-04-13 10:00:00", "04/13/2025": "2025-04-13", "13.4.2025": "2025-04-13", "3/3/25, 7:02 PM": "2025-03-03 19:02:00",
		"[28.02.25, 19:02:11]": "", "2025-03-03T10:04:00": "2025-03-03 10:04:00", "2025. 4. 3.": "2025-04-03",
		"2025/04/03 10:00": "2025-04-03 10:00:00", "Sat 12/04/2025 10:00": "2025-04-12 10:00:00", "Fri 12/04/2020": "2020-12-04",
		"١٣/٠٤/٢٠٢٥": "2025-04-13", "2025-03-03 10:04:00.123 +0200": "2025-03-03 10:04:00", "25-13-04": "",
		// In two ways, or not at all.
		"03/04/2025": "", "12.04.2025": "", "3/4/25": "", "30/02/2025": "", "2025/13/04": "", "1404/01/20": "", "3/4/2025 10.04.05": "",
		"10.0.12.2025": "", "1/2/2025/4": "", "127.0.0.1": "", "13/04/2025 25:00": "",
		// Relative to a day that nobody knows.
		"yesterday": "", "hier": "", "gestern": "", "3 days ago": "", "il y a 3 jours": "", "now": "", "last Monday": "", "2 hours ago": "",
		"today at 10:04": "", "Monday 10:00": "", "10:04 am": "",
		// No dates.
		"session 3": "", "D1": "", "Chapter 12 of 2025": "", "2025-102": "", "3 March": "", "March 2025": "",
		"a long title of a document that was written in 2011 by two people in May at 12": "",
	} {
		got := ""
		if d, ok := ParseTime(in); ok {
			got = strings.TrimSuffix(d.Format("2006-01-02 15:04:05"), " 00:00:00")
		}
		if got != want {
			t.Errorf("ParseTime(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestReadCalendar(t *testing.T) {
	for name, c := range map[string]struct {
		times    []string
		given    DateOrder
		language Language
		order    DateOrder
		basis    Basis
		read     map[string]string // time → day
		unread   []string
	}{
		"shown by a later date": {times: []string{"12/04/2025 10:00", "13/04/2025 10:00"}, order: DMY, basis: Shown,
			read: map[string]string{"12/04/2025 10:00": "12 April 2025"}},
		"shown the other way": {times: []string{"04/12/2025", "04/13/2025"}, order: MDY, basis: Shown, read: map[string]string{"04/12/2025": "12 April 2025"}},
		"shown by the sequence": {times: []string{"12/04/2025", "01/05/2025", "02/06/2025"}, order: DMY, basis: InSequence,
			read: map[string]string{"01/05/2025": "1 May 2025"}},
		"shown by a weekday": {times: []string{"Sat 12/04/2025", "03/05/2025"}, order: DMY, basis: Shown, read: map[string]string{"03/05/2025": "3 May 2025"}},
		"dots assumed":       {times: []string{"03.04.2025"}, order: DMY, basis: Assumed, read: map[string]string{"03.04.2025": "3 April 2025"}},
		"dashes assumed":     {times: []string{"03-04-2025"}, order: DMY, basis: Assumed, read: map[string]string{"03-04-2025": "3 April 2025"}},
		"slashes assumed":    {times: []string{"03/04/2025"}, order: MDY, basis: Assumed, read: map[string]string{"03/04/2025": "4 March 2025"}},
		"slashes in Spanish": {times: []string{"03/04/2025"}, language: "es", order: DMY, basis: Assumed, read: map[string]string{"03/04/2025": "3 April 2025"}},
		"a day in Italian":   {times: []string{"sab 12/04/2025", "03/05/2025"}, order: DMY, basis: Shown, read: map[string]string{"03/05/2025": "3 May 2025"}},
		"a word in German":   {times: []string{"Montag 03/03/2025", "03/04/2025"}, order: DMY, basis: Assumed, read: map[string]string{"03/04/2025": "3 April 2025"}},
		"given":              {times: []string{"03/04/2025"}, given: DMY, order: DMY, basis: Given, read: map[string]string{"03/04/2025": "3 April 2025"}},
		"given against a date": {times: []string{"13/04/2025", "03/04/2025"}, given: MDY, order: MDY, basis: Given,
			read: map[string]string{"03/04/2025": "4 March 2025", "13/04/2025": "13 April 2025"}},
		"mixed": {times: []string{"13/04/2025", "04/14/2025", "03/04/2025"}, basis: Mixed,
			read: map[string]string{"13/04/2025": "13 April 2025", "04/14/2025": "14 April 2025"}, unread: []string{"03/04/2025"}},
		"the year first in two digits": {times: []string{"99/04/03", "05/04/30"}, order: YMD, basis: Shown, read: map[string]string{"05/04/30": "30 April 2005"}},
		"given with two digits":        {times: []string{"25/04/03"}, given: YMD, order: YMD, basis: Given, read: map[string]string{"25/04/03": "3 April 2025"}},
		"the year first in four":       {times: []string{"2025/03/04", "2025-04-03"}, read: map[string]string{"2025/03/04": "4 March 2025"}},
		"words":                        {times: []string{"8 May, 2023", "3 mars 2025"}, read: map[string]string{"3 mars 2025": "3 March 2025"}},
		"relative":                     {times: []string{"yesterday", "yesterday", "3 March, 2025"}, unread: []string{"yesterday"}},
		"none":                         {times: []string{"", " "}},
	} {
		cal, r := ReadCalendar(c.times, c.given, c.language)
		if r.Order != c.order || r.Basis != c.basis || !slices.Equal(r.Unread, c.unread) {
			t.Errorf("%s: %+v, want order %q by %q and %q unread", name, r, c.order, c.basis, c.unread)
		}
		for in, want := range c.read {
			if d, ok := cal.Parse(in); !ok || Day(d) != want {
				t.Errorf("%s: %q is read as %v, %v; want %s", name, in, d, ok, want)
			}
			if d, ok := ParseTime(cal.Normalize(in)); !ok || Day(d) != want {
				t.Errorf("%s: %q becomes %q, which is read as %v, %v; want %s", name, in, cal.Normalize(in), d, ok, want)
			}
		}
		for _, in := range c.unread {
			if cal.Normalize(in) != in {
				t.Errorf("%s: %q becomes %q although it cannot be read", name, in, cal.Normalize(in))
			}
		}
		if notes := strings.Join(r.Notes(), "; "); (r.Basis == Assumed) != strings.Contains(notes, "assumed") || len(r.Unread) > 0 != strings.Contains(notes, "not read") {
			t.Errorf("%s: notes %q", name, notes)
		}
	}
}

// The forms that data sets have are read as before and shown as they are.
func TestNormalizeLeavesPlainTimes(t *testing.T) {
	for _, s := range []string{"1:56 pm on 8 May, 2023", "2023/05/20 (Sat) 02:21", "2 January 2006", "2025-03-03T10:04:00Z", "", "session 3"} {
		if got := (Calendar{order: DMY}).Normalize(s); got != s {
			t.Errorf("%q becomes %q", s, got)
		}
	}
}

func TestParseDateOrder(t *testing.T) {
	for in, want := range map[string]DateOrder{"dmy": DMY, "MDY": MDY, " ymd ": YMD, "": ""} {
		if got, err := ParseDateOrder(in); err != nil || got != want {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
	if _, err := ParseDateOrder("ddmm"); err == nil || !strings.Contains(err.Error(), "dmy") {
		t.Errorf("ddmm: %v", err)
	}
}

// FuzzParseTime holds that no time crashes the reader, that what it reads does not depend on the clock of the machine and
// lies within history, and that a normalized time is read as the same.
func FuzzParseTime(f *testing.F) {
	for _, s := range []string{"12/04/2025 10:00", "03.04.25, 19:02", "3 mars 2025", "2025年3月3日", "yesterday", "1:56 pm on 8 May, 2023", "٣/٤/٢٠٢٥",
		"0/0/0000", "99/99/99", "1/1/2000 24:60", "\xff1/2/2025", "20250303", "2025-W10-1", "Mon, 03 Mar 2025 10:04:00 +0100", "3 มีนาคม 2568"} {
		f.Add(s, "dmy")
	}
	f.Fuzz(func(t *testing.T, s, order string) {
		given, err := ParseDateOrder(order)
		if err != nil {
			given = ""
		}
		cal, r := ReadCalendar([]string{s}, given, English)
		r.Notes()
		at, ok := cal.Parse(s)
		if !ok {
			if cal.Normalize(s) != s {
				t.Errorf("%q is not read and becomes %q", s, cal.Normalize(s))
			}
			return
		}
		if at.Year() < 1 || at.Year() > 9999 {
			t.Errorf("%q is read as %v", s, at)
		}
		again, ok := ParseTime(cal.Normalize(s))
		if !ok || again.Truncate(time.Second).Format(time.DateTime) != at.Truncate(time.Second).Format(time.DateTime) {
			t.Errorf("%q is read as %v, and as %v (%v) once it is %q", s, at, again, ok, cal.Normalize(s))
		}
	})
}
