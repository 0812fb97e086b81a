package tiers

import (
	"context"
	"maps"
	"slices"

	"github.com/budgetmem/budgetmem/tiers/llm"
)

// The methods that step in when a model fails: see servedBy.
const (
	evidenceMethod = "evidence"
	plainMethod    = "plain"
)

// method is one way of doing a module's work.
type method struct {
	make func(*toolbox) runFunc
	// plan names the calls of the language model; nil if the method needs none.
	plan func(*toolbox) planFunc
	// keepsAll says of a method of the filter that it keeps every chunk.
	keepsAll bool
}

// methods lists the ways of each module by their names in tier sets. What each does stands in the module's file.
var methods = [NumModules]map[string]method{
	Filter: {
		"keywords":     {make: func(tb *toolbox) runFunc { return tb.filterKeywords }},
		evidenceMethod: {make: func(tb *toolbox) runFunc { return tb.filterEvidence }},
		"all":          {make: func(tb *toolbox) runFunc { return tb.filterAll }, keepsAll: true},
		"likelihood":   {make: func(tb *toolbox) runFunc { return tb.filterAsked(tb.marksByLikelihood) }, plan: func(tb *toolbox) planFunc { return tb.filterScoring }},
		rerankedMethod: {make: func(tb *toolbox) runFunc { return tb.filterReranked }, plan: func(tb *toolbox) planFunc { return tb.rerankPlan }},
		"llm":          {make: func(tb *toolbox) runFunc { return tb.filterAsked(tb.marksWritten) }, plan: func(tb *toolbox) planFunc { return oneCall(tb.marksRequest) }},
	},
	Entity:   relationMethods(Entity, entityRules{}, func(tb *toolbox) extractor { return entityGrammar{tagger: tb.tagger} }),
	Temporal: relationMethods(Temporal, temporalRules{}, func(tb *toolbox) extractor { return temporalGrammar{tagger: tb.tagger} }),
	Topic:    relationMethods(Topic, topicRules{}, func(tb *toolbox) extractor { return topicGrammar{tagger: tb.tagger} }),
	Summary: {
		plainMethod:  {make: func(tb *toolbox) runFunc { return tb.summaryPlain }},
		"headings":   {make: func(tb *toolbox) runFunc { return tb.summaryHeadings }},
		"quotes":     {make: func(tb *toolbox) runFunc { return tb.quoting("quotes", tb.Options) }},
		"brief":      {make: func(tb *toolbox) runFunc { return tb.quoting("brief", tb.Options.brief()) }},
		"wide":       {make: func(tb *toolbox) runFunc { return tb.quoting("wide", tb.Options.wide()) }},
		"likelihood": {make: func(tb *toolbox) runFunc { return tb.summaryQuoted(tb.linesByLikelihood) }, plan: func(tb *toolbox) planFunc { return tb.summaryScoring }},
		"llm":        {make: func(tb *toolbox) runFunc { return tb.summaryQuoted(tb.linesChosen) }, plan: func(tb *toolbox) planFunc { return oneCall(tb.linesRequest) }},
		"prose":      {make: func(tb *toolbox) runFunc { return tb.summaryProse }, plan: func(tb *toolbox) planFunc { return oneCall(tb.proseRequest) }},
	},
	Answering: {
		extractMethod: {make: func(tb *toolbox) runFunc { return tb.answerExtracted }},
		"reply":       answerMethod,
		mbrMethod:     answerMethod,
	},
}

// mbrMethod is the method of Answering that samples.
const mbrMethod = "mbr"

var answerMethod = method{make: func(tb *toolbox) runFunc { return tb.answerer().run }, plan: func(tb *toolbox) planFunc { return tb.answerer().plan }}

func relationMethods(m Module, rules extractor, grammar func(*toolbox) extractor) map[string]method {
	return map[string]method{
		"rules":   {make: func(tb *toolbox) runFunc { return tb.extracted(rules) }},
		"grammar": {make: func(tb *toolbox) runFunc { return tb.extracted(grammar(tb)) }},
		"llm": {make: func(tb *toolbox) runFunc { return tb.relationAsked(m) }, plan: func(tb *toolbox) planFunc {
			return func(_ context.Context, in Input) (plan, error) { return planned(tb.relationRequest(m, in)) }
		}},
	}
}

// oneCall plans a method that writes one request, and none without items.
func oneCall(request func(Input) (llm.Request, error)) planFunc {
	return func(_ context.Context, in Input) (plan, error) {
		if len(in.Items) == 0 {
			return plan{}, nil
		}
		return planned(request(in))
	}
}

func planned(req llm.Request, err error) (plan, error) {
	return plan{chat: []llm.Request{req}}, err
}

// Methods lists the names of the methods that a module has, in alphabetical order:
//
//	filter    keywords, evidence, all, likelihood, reranked, llm
//	entity, temporal, topic    rules, grammar, llm
//	summary   plain, headings, quotes, brief, wide, likelihood, llm, prose
//	answer    rules, reply, mbr
func Methods(m Module) []string { return slices.Sorted(maps.Keys(methods[m])) }
