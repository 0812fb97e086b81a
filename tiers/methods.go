package tiers

import (
	"maps"
	"slices"
)

// The methods that step in when a model fails: see servedBy.
const (
	evidenceMethod = "evidence"
	plainMethod    = "plain"
)

// method is one way of doing a module's work.
type method struct {
	// asks says whether it needs a language model.
	asks bool
	make func(*kit) work
}

// methods lists the ways of each module by their names in tier sets. What each does stands in the module's file.
var methods = [NumModules]map[string]method{
	Filter: {
		"keywords":     {make: func(k *kit) work { return k.filterKeywords }},
		evidenceMethod: {make: func(k *kit) work { return k.filterEvidence }},
		"likelihood":   {asks: true, make: func(k *kit) work { return k.filterAsked(k.marksByLikelihood) }},
		"llm":          {asks: true, make: func(k *kit) work { return k.filterAsked(k.marksWritten) }},
	},
	Entity:   relationMethods(Entity, entityRules{}, func(k *kit) extractor { return entityGrammar{tagger: k.tagger} }),
	Temporal: relationMethods(Temporal, temporalRules{}, func(k *kit) extractor { return temporalGrammar{tagger: k.tagger} }),
	Topic:    relationMethods(Topic, topicRules{}, func(k *kit) extractor { return topicGrammar{tagger: k.tagger} }),
	Summary: {
		plainMethod:  {make: func(k *kit) work { return k.summaryPlain }},
		"headings":   {make: func(k *kit) work { return k.summaryHeadings }},
		"likelihood": {asks: true, make: func(k *kit) work { return k.summaryQuoted(k.linesByLikelihood) }},
		"llm":        {asks: true, make: func(k *kit) work { return k.summaryQuoted(k.linesChosen) }},
		"prose":      {asks: true, make: func(k *kit) work { return k.summaryProse }},
	},
}

func relationMethods(m Module, rules extractor, grammar func(*kit) extractor) map[string]method {
	return map[string]method{
		"rules":   {make: func(k *kit) work { return k.extracted(rules) }},
		"grammar": {make: func(k *kit) work { return k.extracted(grammar(k)) }},
		"llm":     {asks: true, make: func(k *kit) work { return k.relationAsked(m) }},
	}
}

// Methods lists the names of the methods that a module has, in alphabetical order:
//
//	filter    keywords, evidence, likelihood, llm
//	entity, temporal, topic    rules, grammar, llm
//	summary   plain, headings, likelihood, llm, prose
func Methods(m Module) []string { return slices.Sorted(maps.Keys(methods[m])) }
