package text

import (
	"sort"
	"strings"
)

// KeyPhrases returns the n weightiest noun phrases of a text, heaviest first: candidates are runs of adjectives and nouns by
// their tags, and a phrase weighs the sum over its words of degree/frequency in the graph of words that occur together in
// candidates (Rose et al. 2010, RAKE), times how often it occurs. Names of skip are left out.
func (t *Tagger) KeyPhrases(text string, skip map[string]bool, n int) []string {
	keep := opening(text)
	var candidates [][]string
	for _, s := range Sentences(text) {
		candidates = append(candidates, nounRuns(t.tag(s, keep), skip)...)
	}
	frequency, degree := map[string]float64{}, map[string]float64{}
	for _, c := range candidates {
		for _, w := range c {
			frequency[English.Stem(w)]++
			degree[English.Stem(w)] += float64(len(c))
		}
	}
	weight, phrase, order := map[string]float64{}, map[string]string{}, []string{}
	for _, c := range candidates {
		key, sum := "", 0.0
		for _, w := range c {
			key += English.Stem(w) + " "
			sum += degree[English.Stem(w)] / frequency[English.Stem(w)]
		}
		if _, ok := weight[key]; !ok {
			order = append(order, key)
			phrase[key] = strings.Join(c, " ")
		}
		weight[key] += sum
	}
	sort.SliceStable(order, func(i, j int) bool { return weight[order[i]] > weight[order[j]] })
	if len(order) > n {
		order = order[:n]
	}
	for i, key := range order {
		order[i] = phrase[key]
	}
	return order
}

// nounRuns returns the runs of adjectives and nouns that end in a noun and hold at most 4 words.
func nounRuns(tokens []token, skip map[string]bool) [][]string {
	var runs [][]string
	var run []token
	flush := func() {
		for len(run) > 0 && !run[len(run)-1].noun() {
			run = run[:len(run)-1]
		}
		if len(run) > 4 {
			run = run[len(run)-4:]
		}
		if len(run) > 0 {
			words := make([]string, len(run))
			for i, t := range run {
				words[i] = t.Text
			}
			runs = append(runs, words)
		}
		run = nil
	}
	for _, t := range tokens {
		low := strings.ToLower(t.Text)
		if (t.noun() || t.Tag == "JJ") && !skip[t.Text] && !English.IsStop(low) && !emptyNouns[low] && len(low) > 2 {
			run = append(run, t)
			continue
		}
		flush()
	}
	flush()
	return runs
}

// emptyNouns name no theme.
var emptyNouns = set(`lot lots thing things something anything everything nothing someone anyone everyone way bit kind sort stuff
time day week month year today yesterday tomorrow weekend morning night one ones people guy guys pic photo picture lately thanks
good great nice awesome amazing cool fun new long sure glad happy super hard big last next many few own much look sounds looks`)
