package text

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// TestResolveAgainstLoCoMo compares with the answers that people gave to questions on LoCoMo's training conversations
// (CC BY-NC 4.0): the expression in the turn, the day it was said on, the gold answer's words.
func TestResolveAgainstLoCoMo(t *testing.T) {
	for _, c := range []struct{ text, said, want string }{
		{"I went to a LGBTQ support group yesterday", "8 May, 2023", "7 May 2023"},
		{"I painted that lake sunrise last year!", "8 May, 2023", "2022"},
		{"We're thinking about going camping next month.", "25 May, 2023", "June 2023"},
		{"my school event last week", "9 June, 2023", "the week before 9 June 2023"},
		{"I'm going to a transgender conference this month.", "3 July, 2023", "July 2023"},
		{"I went to an LGBTQ conference two days ago", "12 July, 2023", "10 July 2023"},
		{"Last Friday I went to a council meeting", "15 July, 2023", "the Friday before 15 July 2023"},
		{"Last Fri I finally took my kids", "15 July, 2023", "the Friday before 15 July 2023"},
		{"camping with my fam two weekends ago", "17 July, 2023", "two weekends before 17 July 2023"},
		{"Last weekend I joined a mentorship program", "17 July, 2023", "the weekend before 17 July 2023"},
		{"a new LGBTQ activist group last Tues", "20 July, 2023", "the Tuesday before 20 July 2023"},
		{"Guess what I did this week?", "23 August, 2023", "the week of 23 August 2023"},
		{"that roadtrip this past weekend was insane", "20 October, 2023", "the weekend before 20 October 2023"},
		{"lost my job at Door Dash this month", "20 January, 2023", "January 2023"},
		{"The official opening night is tomorrow.", "19 June, 2023", "20 June 2023"},
		{"I met back up with my teammates on the 15th", "17 August, 2023", "15 August 2023"},
		{"I've been playing for about four months now", "6 December, 2023", "since August 2023"},
		{"I've had them for 3 years!", "27 March, 2023", "since 2020"},
		{"a basketball camp for kids in my hometown last summer", "26 December, 2023", "summer 2023"},
		{"a blast there last month!", "2 January, 2024", "December 2023"},
		{"I started surfing five years ago", "16 July, 2023", "2018"},
		{"Seven years now, and I've finally", "13 September, 2023", "since 2016"},
	} {
		said, ok := ParseTime(c.said)
		if !ok {
			t.Fatalf("cannot read %q", c.said)
		}
		found := FindDates(c.text)
		if len(found) != 1 {
			t.Errorf("%q: %d expressions, want 1: %+v", c.text, len(found), found)
			continue
		}
		if got := found[0].Resolve(said); got != c.want {
			t.Errorf("%q said on %s: %q, want %q", c.text, c.said, got, c.want)
		}
	}
}

func TestResolveOthers(t *testing.T) {
	for _, c := range []struct{ text, said, want string }{
		{"on 3rd of June", "1 January, 2023", "3 June 2023"},
		{"June 16, 2021", "1 January, 2023", "16 June 2021"},
		{"back in 2016", "1 January, 2023", "2016"},
		{"in December", "5 January, 2024", "December 2023"},
		{"in May", "5 January, 2024", "May 2024"},
		{"next May", "5 June, 2024", "May 2025"},
		{"last August", "8 December, 2023", "August 2023"},
		{"last August", "8 July, 2023", "August 2022"},
		{"last summer", "3 July, 2023", "summer 2022"},
		{"next Friday", "20 January, 2023", "the Friday after 20 January 2023"},
		{"this weekend", "24 June, 2022", "the weekend of 24 June 2022"},
		{"in three weeks", "24 June, 2022", "three weeks after 24 June 2022"},
		{"a few years ago", "8 February, 2023", "a few years before 8 February 2023"},
		{"last month", "31 March, 2023", "February 2023"},
		{"two months ago", "31 December, 2023", "October 2023"},
		{"2023-05-20", "1 January, 2024", "20 May 2023"},
		{"the day", "1 January, 2024", ""},
		{"on the 4th", "11 December, 2023", "4 December 2023"},
		{"the other day", "11 December, 2023", "shortly before 11 December 2023"},
	} {
		said, _ := ParseTime(c.said)
		found := FindDates(c.text)
		if len(found) != 1 {
			t.Errorf("%q: %d expressions, want 1", c.text, len(found))
		} else if got := found[0].Resolve(said); got != c.want {
			t.Errorf("%q said on %s: %q, want %q", c.text, c.said, got, c.want)
		}
	}
	for _, text := range []string{"We may go", "the sun was out", "I sat there", "We went on and on", "a lot of fun"} {
		if found := FindDates(text); len(found) != 0 {
			t.Errorf("%q holds no date, found %+v", text, found)
		}
	}
}

// A part of a number is no number: "1.5 years ago" is not "5 years ago".
func TestPartsOfNumbers(t *testing.T) {
	said := time.Date(2025, 3, 3, 0, 0, 0, 0, time.UTC)
	for text, want := range map[string]string{
		"1.5 years ago":                    "about September 2023",
		"1,5 years ago":                    "about September 2023",
		"2.5 months ago":                   "about December 2024",
		"in 1.5 weeks":                     "1.5 weeks after 3 March 2025",
		"half a year ago":                  "about September 2024",
		"in the last 2.5 years":            "the 2.5 years before 3 March 2025",
		"twenty-five years ago":            "",
		"twenty five years ago":            "",
		"1,500 years ago":                  "",
		"15-20 years ago":                  "",
		"two or three years ago":           "",
		"2 to 3 days ago":                  "",
		"two years and a half ago":         "",
		"two and a half years ago":         "",
		"it costs 3.2015 francs":           "",
		"in 2015.5":                        "",
		"in May 2.5 million people":        "May 2025",
		"in May 2,500 people":              "May 2025",
		"May 10:30":                        "",
		"on 12/04/2025":                    "2025",
		"I walked 5 and two days ago fell": "",
		"I ran and two days ago fell":      "1 March 2025",
		"a party two days ago":             "1 March 2025",
		"in the city a few months ago":     "a few months before 3 March 2025",
		"5 years ago.":                     "2020",
		"in 2021, 2022 and 2023":           "2021, 2022, 2023",
	} {
		var got []string
		for _, e := range FindDates(text) {
			if when := e.Resolve(said); when != "" {
				got = append(got, when)
			}
		}
		if strings.Join(got, ", ") != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestResolveWithoutASessionDate(t *testing.T) {
	for text, want := range map[string]string{"yesterday": "", "last week": "", "in 1987": "1987", "12 March 1976": "12 March 1976", "March 12": ""} {
		found := FindDates(text)
		if len(found) != 1 {
			t.Errorf("%q: %d expressions", text, len(found))
		} else if got := found[0].Resolve(time.Time{}); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestParseTime(t *testing.T) {
	for in, want := range map[string]string{"1:56 pm on 8 May, 2023": "8 May 2023", "2023/05/20 (Sat) 02:21": "20 May 2023", "": "", "8 May": "", "session 3": "", "hello": ""} {
		got := ""
		if d, ok := ParseTime(in); ok {
			got = Day(d)
		}
		if got != want {
			t.Errorf("ParseTime(%q) = %q, want %q", in, got, want)
		}
	}
}

// What a rule finds holds one of the words without which it is not tried.
func TestRulesFindNothingWithoutTheirWords(t *testing.T) {
	var text []string
	for _, a := range []string{"", "in", "on", "the", "last", "next", "this", "past", "over the", "two", "a couple of", "the last three", "31st of", "back in", "late"} {
		for _, b := range []string{"May", "AUG 3rd, 2021", "2019", "2021-03-04", "the other day", "lately", "Yesterday", "the day after tomorrow", "tonight", "Fri night", "Sunday",
			"weekend", "days", "months now", "years ago", "weeks later", "evening", "winter", "12th", "May 2019",
			"the day before yesterday", "two weeks", "the last three months"} {
			text = append(text, a+" "+b)
		}
	}
	for i := range dateRules {
		r, found := &dateRules[i], 0
		for _, s := range text {
			if r.re.MatchString(s) {
				found++
				if !r.mayOccur(strings.ToLower(s)) {
					t.Errorf("%s is in %q, and would not be looked for", r.re, s)
				}
			}
		}
		if found == 0 {
			t.Errorf("nothing here tries %s", r.re)
		}
	}
}

// FuzzLingua holds that no text crashes the rules and that expressions lie in the text, in order.
func FuzzLingua(f *testing.F) {
	for _, s := range []string{"I went there yesterday, on 8 May 2023.", "İ'll go ﬁrst", "31 feb", "the 99th", "\xff\xfe", "\"Brave\" by Sara", "can't won't n't 's",
		"in 999 years", "00000-00-00"} {
		f.Add(s)
	}
	var tagger Tagger
	said := time.Date(2023, 5, 8, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text string) {
		last := 0
		for _, e := range FindDates(text) {
			if e.Start < last || e.End <= e.Start || text[e.Start:e.End] != e.Text {
				t.Errorf("%q: expression %+v", text, e)
			}
			last = e.End
			e.Resolve(said)
			e.Resolve(time.Time{})
		}
		Names(text)
		tagger.Clauses(text, Setting{Speaker: "Ann", Listener: "Bob"})
		tagger.KeyPhrases(text, nil, 3)
	})
}

// The short way gives what the parser for all forms gives.
func TestCommonLayoutsAgreeWithTheParser(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		at := time.Unix(rng.Int64N(2e9), 0).UTC()
		for _, layout := range commonLayouts {
			in := at.Format(layout)
			got, ok := ParseTime(in)
			want, wantOK := Calendar{}.parseOther(in)
			if ok != wantOK || !got.Equal(want) {
				t.Fatalf("%q: %v %v, the parser says %v %v", in, got, ok, want, wantOK)
			}
		}
	}
}
