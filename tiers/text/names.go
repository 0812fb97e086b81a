package text

import (
	"regexp"
	"strings"
)

var (
	nameRE  = regexp.MustCompile(`\p{Lu}[\p{L}\p{N}&+.'’-]*(?:\s+(?:(?:of|the|de|la|van|von|&)\s+)?(?:\p{Lu}[\p{L}\p{N}&+.'’-]*|\d+))*`)
	quoteRE = regexp.MustCompile(`["“]([^"“”]{2,60})["”]`)
)

// Names returns the distinct proper names and quoted titles in text, in order: runs of capitalised words, those that open
// a sentence only if they run on or stand capitalised elsewhere too. This is pattern matching without a model.
func Names(text string) []string {
	seen := map[string]bool{}
	var names, openers []string
	add := func(n string) {
		if key := strings.ToLower(n); n != "" && !seen[key] {
			seen[key] = true
			names = append(names, n)
		}
	}
	for _, m := range quoteRE.FindAllStringSubmatch(text, -1) {
		add(strings.Trim(m[1], " .,!?"))
	}
	for _, s := range Sentences(quoteRE.ReplaceAllString(text, " ")) {
		for _, m := range nameRE.FindAllStringIndex(s, -1) {
			name := trimName(s[m[0]:m[1]])
			switch {
			case len([]rune(name)) < 2:
			case strings.IndexFunc(s[:m[0]], func(r rune) bool { return hasWordChar(string(r)) }) < 0 && !strings.Contains(name, " "):
				openers = append(openers, name)
			default:
				add(name)
			}
		}
	}
	for _, o := range openers {
		if strings.Contains(" "+strings.Join(names, " ")+" ", " "+o+" ") {
			add(o)
		}
	}
	return names
}

// trimName drops the function words and greetings that open a capitalised run ("Hey Mel", "I").
func trimName(s string) string {
	words := strings.Fields(strings.TrimRight(s, ".'’-&+"))
	for len(words) > 0 {
		w := strings.ToLower(apostrophes.Replace(words[0]))
		if !English.IsStop(w) && !interjections[w] && !chatOpeners[w] {
			break
		}
		words = words[1:]
	}
	name := strings.Join(words, " ")
	for _, suffix := range []string{"'s", "’s"} {
		name = strings.TrimSuffix(name, suffix)
	}
	return name
}

var chatOpeners = set("great good nice sounds looks glad long lots woo got gonna gotta btw remember check guess keep take thank thx")

// opening returns the first words of the names in text: those that keep their capital where a sentence opens with them.
func opening(text string) map[string]bool {
	keep := map[string]bool{}
	for _, n := range Names(text) {
		first, _, _ := strings.Cut(n, " ")
		keep[first] = true
	}
	return keep
}
