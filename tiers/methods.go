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
	make func(*toolbox) runFunc
}

// methods lists the ways of each module by their names in tier sets. What each does stands in the module's file.
var methods = [NumModules]map[string]method{
	Filter: {
		"keywords":     {make: func(tb *toolbox) runFunc { return tb.filterKeywords }},
		evidenceMethod: {make: func(tb *toolbox) runFunc { return tb.filterEvidence }},
		"likelihood":   {asks: true, make: func(tb *toolbox) runFunc { return tb.filterAsked(tb.marksByLikelihood) }},
		"llm":          {asks: true, make: func(tb *toolbox) runFunc { return tb.filterAsked(tb.marksWritten) }},
	},
	Entity:   relationMethods(Entity, entityRules{}, func(tb *toolbox) extractor { return entityGrammar{tagger: tb.tagger} }),
	Temporal: relationMethods(Temporal, temporalRules{}, func(tb *toolbox) extractor { return temporalGrammar{tagger: tb.tagger} }),
	Topic:    relationMethods(Topic, topicRules{}, func(tb *toolbox) extractor { return topicGrammar{tagger: tb.tagger} }),
	Summary: {
		plainMethod:  {make: func(tb *toolbox) runFunc { return tb.summaryPlain }},
		"headings":   {make: func(tb *toolbox) runFunc { return tb.summaryHeadings }},
		"quotes":     {make: func(tb *toolbox) runFunc { return tb.summaryQuotes }},
		"likelihood": {asks: true, make: func(tb *toolbox) runFunc { return tb.summaryQuoted(tb.linesByLikelihood) }},
		"llm":        {asks: true, make: func(tb *toolbox) runFunc { return tb.summaryQuoted(tb.linesChosen) }},
		"prose":      {asks: true, make: func(tb *toolbox) runFunc { return tb.summaryProse }},
	},
}

func relationMethods(m Module, rules extractor, grammar func(*toolbox) extractor) map[string]method {
	return map[string]method{
		"rules":   {make: func(tb *toolbox) runFunc { return tb.extracted(rules) }},
		"grammar": {make: func(tb *toolbox) runFunc { return tb.extracted(grammar(tb)) }},
		"llm":     {asks: true, make: func(tb *toolbox) runFunc { return tb.relationAsked(m) }},
	}
}

// Methods lists the names of the methods that a module has, in alphabetical order:
//
//	filter    keywords, evidence, likelihood, llm
//	entity, temporal, topic    rules, grammar, llm
//	summary   plain, headings, quotes, likelihood, llm, prose
func Methods(m Module) []string { return slices.Sorted(maps.Keys(methods[m])) }
