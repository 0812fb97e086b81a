package memory

import (
	"slices"

	"github.com/google/jsonschema-go/jsonschema"
)

// Schema is the JSON schema of a request or result. Unlike the one that is inferred by default, it allows no null in place of a list
// or map, as none is ever sent.
func Schema[T any]() *jsonschema.Schema {
	s, err := jsonschema.For[T](nil)
	if err != nil {
		panic(err) // a type of this package that has no schema
	}
	notNull(s)
	return s
}

func notNull(s *jsonschema.Schema) {
	if s == nil {
		return
	}
	if rest := slices.DeleteFunc(slices.Clone(s.Types), func(t string) bool { return t == "null" }); len(rest) == 1 {
		s.Type, s.Types = rest[0], nil
	}
	notNull(s.Items)
	notNull(s.AdditionalProperties)
	for _, p := range s.Properties {
		notNull(p)
	}
}

// memoryName describes names of memories, as CheckName wants them: no slash, no control character, no space at the ends. Clients take . and
// .. in a path for folders.
func memoryName(s *jsonschema.Schema) {
	s.Pattern, s.MaxLength, s.Not = namePattern, ptr(MaxName), &jsonschema.Schema{Enum: []any{".", ".."}}
}

const namePattern = `^[^\s/\x00-\x1f\x7f-\x9f]([^/\x00-\x1f\x7f-\x9f]*[^\s/\x00-\x1f\x7f-\x9f])?$`

// RequestSchema is the Schema of a request, with the limits of its fields. budgets are those that questions may name (Service.Budgets).
func RequestSchema[T any](budgets []string) *jsonschema.Schema {
	s := Schema[T]()
	if s.Properties == nil {
		s.Properties = map[string]*jsonschema.Schema{} // some clients want to see that there are none
	}
	limit(s, budgets)
	return s
}

func limit(s *jsonschema.Schema, budgets []string) {
	one, most, turns := 1, maxAsking/4, MaxTurns
	zero := 0.0
	for name, p := range s.Properties {
		switch name {
		case "memory":
			memoryName(p)
		case "query", "question":
			p.Pattern, p.MinLength, p.MaxLength = `\S`, &one, &most
		case "text":
			p.Pattern = `\S`
		case "turns":
			p.MinItems, p.MaxItems = &one, &turns
			limit(p.Items, budgets)
		case "limit":
			p.Minimum, p.Maximum = ptr(1.0), ptr(float64(MaxFound))
			if _, pages := s.Properties["cursor"]; pages {
				p.Maximum = ptr(float64(MaxTurns))
			}
		case "budget":
			if len(budgets) == 0 { // an empty list of values is no schema
				delete(s.Properties, name)
			}
			for _, b := range budgets {
				p.Enum = append(p.Enum, b)
			}
		case "max_dollars":
			p.Type, p.Types, p.ExclusiveMinimum = "number", nil, &zero
		case "min_confidence", "min_answerable":
			p.Type, p.Types, p.Minimum, p.Maximum = "number", nil, &zero, ptr(1.0)
		case "before", "after":
			p.AnyOf = []*jsonschema.Schema{day(), moment()}
		case "expires":
			p.AnyOf = []*jsonschema.Schema{day(), moment(), {Pattern: `^[1-9][0-9]{0,3}[hdw]$`}, {Const: ptr(any("never"))}}
		}
	}
}

// day and moment are the forms of times. Validators need not look at formats, so each has its pattern too.
func day() *jsonschema.Schema {
	return &jsonschema.Schema{Format: "date", Pattern: `^[0-9]{4}-[0-9]{2}-[0-9]{2}$`}
}

func moment() *jsonschema.Schema {
	return &jsonschema.Schema{Format: "date-time", Pattern: `^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})$`}
}

func ptr[T any](v T) *T { return &v }
