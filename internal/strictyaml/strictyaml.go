// Package strictyaml reads YAML files that people write.
package strictyaml

import (
	"errors"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Bounds of a file. The parser's memory grows with the square of the nesting, and aliases of aliases make a small file large.
const (
	maxBytes = 4 << 20
	maxDepth = 32
	maxNodes = 1 << 20 // each alias counts as what it stands for
)

// Decode reads the document in data into v. Errors show the line. Beside broken YAML these are errors, since what was written would
// be lost without a word: a field that v does not have, a key that is not a string, a key without a value (an explicit null is one),
// a second document. So are more than 4 MiB and more than 32 levels.
func Decode(data []byte, v any) (err error) {
	// The library panics on some broken files, such as a tag without a value where a list belongs.
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the YAML is broken in a way that its parser does not explain (%v)", r)
		}
	}()
	if len(data) > maxBytes {
		return fmt.Errorf("the YAML has %d bytes; at most %d", len(data), maxBytes)
	}
	tokens := lexer.Tokenize(string(data))
	if err := checkTokens(tokens); err != nil {
		return err
	}
	file, err := parser.Parse(tokens, 0)
	if err != nil {
		return readable(err)
	}
	c := checker{anchors: map[string]int{}}
	for _, d := range file.Docs {
		if _, err := c.nodes(d.Body, 0); err != nil {
			return err
		}
	}
	if err := yaml.UnmarshalWithOptions(data, v, yaml.Strict()); err != nil {
		return readable(err)
	}
	return nil
}

// readable shows the lines that an error of the library is about.
func readable(err error) error {
	return errors.New(strings.TrimSpace(yaml.FormatError(err, false, true)))
}

func failAt(t *token.Token, format string, args ...any) error {
	return fmt.Errorf("[%d:%d] %s", t.Position.Line, t.Position.Column, fmt.Sprintf(format, args...))
}

// checkTokens refuses a second document, and nesting on one line, before the parser sees it. Nesting by indentation is left to
// checker: its bytes grow with the square of its depth too.
func checkTokens(tokens token.Tokens) error {
	flow, line, onLine, directive, content := 0, 0, 0, 0, false
	for _, t := range tokens {
		if t.Position.Line != line {
			line, onLine = t.Position.Line, 0
		}
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			flow++
		case token.SequenceEndType, token.MappingEndType:
			flow--
		case token.SequenceEntryType, token.MappingKeyType, token.TagType, token.AnchorType:
			onLine++
		}
		if flow+onLine > maxDepth {
			return failAt(t, "more than %d levels of nesting", maxDepth)
		}
		switch t.Type {
		case token.DocumentHeaderType, token.DocumentEndType:
			if content && t.Next != nil && t.Next.Type != token.DocumentEndType {
				return failAt(t, "a second document begins here, which nothing would read: make it a file of its own")
			}
		case token.DirectiveType:
			directive = line
		case token.CommentType:
		default:
			content = content || line != directive
		}
	}
	return nil
}

// checker walks a document.
type checker struct {
	anchors map[string]int // nodes below each
	total   int
}

// nodes checks what is below n, and counts it.
func (c *checker) nodes(n ast.Node, depth int) (int, error) {
	if n == nil {
		return 0, nil
	}
	if depth > maxDepth {
		return 0, failAt(n.GetToken(), "more than %d levels of nesting", maxDepth)
	}
	count := 1
	below := func(n ast.Node) error {
		k, err := c.nodes(n, depth+1)
		count += k
		return err
	}
	var err error
	switch n := n.(type) {
	case *ast.MappingNode:
		for _, pair := range n.Values {
			if err := below(pair); err != nil {
				return 0, err
			}
		}
	case *ast.MappingValueNode:
		if err = checkPair(n); err == nil {
			err = below(n.Value)
		}
	case *ast.SequenceNode:
		for _, v := range n.Values {
			if err := below(v); err != nil {
				return 0, err
			}
		}
	case *ast.TagNode:
		err = below(n.Value)
	case *ast.AnchorNode:
		err = below(n.Value)
		c.anchors[n.Name.GetToken().Value] = count
	case *ast.AliasNode:
		name := n.Value.GetToken().Value
		if c.anchors[name] == 0 {
			return 0, failAt(n.Value.GetToken(), "the alias %q stands for nothing that ends before it", name)
		}
		count = c.anchors[name]
		c.total += count
	}
	if c.total++; c.total > maxNodes {
		return 0, failAt(n.GetToken(), "with what its aliases stand for the YAML has more than %d values", maxNodes)
	}
	return count, err
}

// checkPair refuses what is no pair of a name and a value. A decimal comma makes such pairs: {hour: 0,02} has a key 02.
func checkPair(n *ast.MappingValueNode) error {
	switch key := n.Key.(type) {
	case *ast.StringNode, *ast.MergeKeyNode:
	default:
		return failAt(key.GetToken(), "%q is no name of a field: numbers are written with a point, and a name that looks like a number or true, false or null in quotes", key.GetToken().Value)
	}
	if null, ok := n.Value.(*ast.NullNode); ok && null.Token.Type == token.ImplicitNullType {
		return failAt(n.Key.GetToken(), "%q has no value: give one, or leave the line out", n.Key.GetToken().Value)
	}
	return nil
}
