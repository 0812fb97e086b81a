package memory

import (
	"net/http"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"
)

// DescriptionPath is where Handler serves its OpenAPI description.
const DescriptionPath = "/v1/openapi.json"

// operation is one way to ask the REST interface.
type operation struct {
	method, path, id, summary string
	query                     []parameter
	in, out                   named // in is empty without a body
	fails                     []int // besides 400, 401 and 500
	call                      func(*rest, *asked) (any, error)
}

type parameter struct {
	name, description string
	schema            *jsonschema.Schema
}

// named is the schema of a type.
type named struct {
	name   string
	schema func(budgets []string) *jsonschema.Schema
}

// resolved returns the schema ready to validate; nil where there is none.
func (n named) resolved(budgets []string) *jsonschema.Resolved {
	if n.schema == nil {
		return nil
	}
	r, err := n.schema(budgets).Resolve(nil)
	if err != nil {
		panic(err) // a schema of this package that is wrong
	}
	return r
}

func schemaOf[T any]() named {
	return named{reflect.TypeFor[T]().Name(), func([]string) *jsonschema.Schema { return Schema[T]() }}
}

// requestOf is the schema of a body. The path names the memory.
func requestOf[T any]() named {
	return named{reflect.TypeFor[T]().Name(), func(budgets []string) *jsonschema.Schema {
		s := RequestSchema[T](budgets)
		delete(s.Properties, "memory")
		s.PropertyOrder = nil
		return s
	}}
}

const (
	memories  = "/v1/memories"
	spending  = "/v1/spending"
	oneMemory = memories + "/{memory}"
	oneTurn   = oneMemory + "/turns/{turn}"
)

// operations are all of them. It is read only.
var operations = []operation{
	{method: http.MethodGet, path: memories, id: "listMemories", summary: "List the memories", out: schemaOf[ListResult](), call: restList},
	{method: http.MethodGet, path: oneMemory, id: "describeMemory", summary: "Describe a memory", out: schemaOf[Info](), fails: []int{403, 404}, call: restDescribe},
	{method: http.MethodDelete, path: oneMemory, id: "forgetMemory", summary: "Forget a memory for good", out: schemaOf[DeleteResult](), fails: []int{403, 404}, call: restForget},
	{method: http.MethodGet, path: oneMemory + "/turns", id: "getTurns", summary: "Read turns page by page", query: []parameter{
		{"session", "only turns of this session", &jsonschema.Schema{Type: "string"}}, {"speaker", "only turns of this speaker", &jsonschema.Schema{Type: "string"}},
		{"cursor", "next of the page before", &jsonschema.Schema{Type: "string"}}, {"limit", "how many turns at most", between(1, MaxTurns)}},
		out: schemaOf[Page](), fails: []int{403, 404}, call: restPage},
	{method: http.MethodPost, path: oneMemory + "/turns", id: "addTurns", summary: "Add turns; the memory is made if need be", in: requestOf[AddRequest](), out: schemaOf[AddResult](),
		fails: []int{402, 403, 409, 413, 429}, call: restAdd},
	{method: http.MethodGet, path: oneTurn, id: "getTurn", summary: "Read a turn", out: schemaOf[Turn](), fails: []int{403, 404}, call: restTurn},
	{method: http.MethodPut, path: oneTurn, id: "editTurn", summary: "Replace what a turn says; the old text is forgotten", in: requestOf[EditRequest](), out: schemaOf[Turn](),
		fails: []int{402, 403, 404, 413, 429}, call: restEdit},
	{method: http.MethodDelete, path: oneTurn, id: "forgetTurn", summary: "Forget a turn for good", out: schemaOf[DeleteResult](), fails: []int{403, 404}, call: restForget},
	{method: http.MethodDelete, path: oneMemory + "/sessions/{session}", id: "forgetSession", summary: "Forget a session for good", out: schemaOf[DeleteResult](), fails: []int{403, 404}, call: restForget},
	{method: http.MethodDelete, path: oneMemory + "/speakers/{speaker}", id: "forgetSpeaker", summary: "Forget everything that a speaker said", out: schemaOf[DeleteResult](), fails: []int{403, 404}, call: restForget},
	{method: http.MethodPost, path: oneMemory + "/search", id: "searchTurns", summary: "Find turns without asking a language model", in: requestOf[SearchRequest](), out: schemaOf[SearchResult](),
		fails: []int{402, 403, 404, 413, 429}, call: restSearch},
	{method: http.MethodPost, path: oneMemory + "/ask", id: "ask", summary: "Answer a question", in: requestOf[AskRequest](), out: schemaOf[AskResult](), fails: []int{402, 403, 404, 409, 413, 429}, call: restAsk},
	{method: http.MethodGet, path: spending, id: "spending", summary: "Say what was spent by day", out: schemaOf[SpendingResult](), call: restSpending},
}

func between(low, high float64) *jsonschema.Schema {
	return &jsonschema.Schema{Type: "integer", Minimum: &low, Maximum: &high}
}

var placeholder = regexp.MustCompile(`\{(\w+)\}`)

// openAPI describes the operations, in OpenAPI 3.1.
func openAPI(budgets []string) map[string]any {
	schemas := map[string]any{"ErrorBody": Schema[ErrorBody]()}
	ref := func(n named) map[string]any {
		schemas[n.name] = n.schema(budgets)
		return content(n.name)
	}
	paths := map[string]map[string]any{}
	for _, o := range operations {
		var parameters []any
		for _, m := range placeholder.FindAllStringSubmatch(o.path, -1) {
			one := 1
			schema := &jsonschema.Schema{Type: "string", MinLength: &one}
			if m[1] == "memory" {
				memoryName(schema)
			}
			parameters = append(parameters, map[string]any{"name": m[1], "in": "path", "required": true, "schema": schema})
		}
		for _, p := range o.query {
			parameters = append(parameters, map[string]any{"name": p.name, "in": "query", "description": p.description, "schema": p.schema})
		}
		responses := map[string]any{"200": map[string]any{"description": "done", "content": ref(o.out)}}
		for _, status := range append([]int{400, 401, 500}, o.fails...) {
			responses[strconv.Itoa(status)] = map[string]any{"description": strings.ToLower(http.StatusText(status)), "content": content("ErrorBody")}
		}
		entry := map[string]any{"operationId": o.id, "summary": o.summary, "responses": responses}
		if parameters != nil {
			entry["parameters"] = parameters
		}
		if o.in.name != "" {
			entry["requestBody"] = map[string]any{"required": true, "content": ref(o.in)}
		}
		if paths[o.path] == nil {
			paths[o.path] = map[string]any{}
		}
		paths[o.path][strings.ToLower(o.method)] = entry
	}
	return map[string]any{
		"openapi":  "3.1.0",
		"info":     map[string]any{"title": "BudgetMem memories", "version": "1", "description": "Memories that agents keep: add what was said, find it, ask about it under a budget, forget it for good."},
		"paths":    paths,
		"security": []any{map[string]any{}, map[string]any{"token": []string{}}},
		"components": map[string]any{"schemas": schemas,
			"securitySchemes": map[string]any{"token": map[string]any{"type": "http", "scheme": "bearer"}}},
	}
}

// content is a JSON body of a schema.
func content(name string) map[string]any {
	return map[string]any{"application/json": map[string]any{"schema": map[string]any{"$ref": "#/components/schemas/" + name}}}
}
