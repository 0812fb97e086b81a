package notebook

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/budgetmem/budgetmem/internal/suggest"
)

// The tags of the cell that declares parameters and of the one that overrides them; papermill's.
const (
	parametersTag = "parameters"
	injectedTag   = "injected-parameters"
)

// Parameter is a variable or constant that the cell tagged parameters declares with a literal.
type Parameter struct {
	Name string
	// Type is the Go type: string, bool, or a type of numbers.
	Type string
	// Default is the literal.
	Default string

	keyword  token.Token // VAR or CONST
	explicit bool        // the declaration names the type
}

var numbers = regexp.MustCompile(`^(?:(u?)int(8|16|32|64)?|float(32|64))$`)

// Parameters returns what the notebook's first code cell tagged parameters declares. Declarations without a literal of a
// string, number or truth value are no parameters.
func (nb *Notebook) Parameters() ([]Parameter, error) {
	at := nb.tagged(parametersTag)
	if at < 0 {
		return nil, nil
	}
	lines := strings.Split(nb.Cells[at].Source, "\n")
	for i, line := range lines {
		if isCommand(line) {
			lines[i] = ""
		}
	}
	files := token.NewFileSet()
	f, err := parser.ParseFile(files, "", "package p;"+strings.Join(lines, "\n"), parser.SkipObjectResolution)
	if err != nil {
		return nil, fmt.Errorf("cell %d, which declares parameters: %w", at+1, err)
	}
	var found []Parameter
	for _, d := range f.Decls {
		group, ok := d.(*ast.GenDecl)
		if !ok || group.Tok != token.VAR && group.Tok != token.CONST {
			continue
		}
		for _, spec := range group.Specs {
			values := spec.(*ast.ValueSpec)
			if len(values.Values) != len(values.Names) {
				continue
			}
			for i, name := range values.Names {
				p := Parameter{Name: name.Name, keyword: group.Tok, explicit: values.Type != nil}
				p.Type, p.Default = literal(values.Values[i])
				if named, ok := values.Type.(*ast.Ident); ok {
					p.Type = named.Name
				}
				if p.Default != "" && (p.Type == "string" || p.Type == "bool" || numbers.MatchString(p.Type)) {
					found = append(found, p)
				}
			}
		}
	}
	return found, nil
}

// literal returns the type of a literal and its text; "" for any other expression.
func literal(e ast.Expr) (kind, text string) {
	switch e := e.(type) {
	case *ast.Ident:
		if e.Name == "true" || e.Name == "false" {
			return "bool", e.Name
		}
	case *ast.UnaryExpr:
		if kind, text := literal(e.X); e.Op == token.SUB && numbers.MatchString(kind) {
			return kind, "-" + text
		}
	case *ast.BasicLit:
		kinds := map[token.Token]string{token.STRING: "string", token.INT: "int", token.FLOAT: "float64"}
		if kind, ok := kinds[e.Kind]; ok {
			return kind, e.Value
		}
	}
	return "", ""
}

// declare returns the declaration that gives the parameter a value.
func (p Parameter) declare(value string) (string, error) {
	form, err := p.format(value)
	if err != nil {
		return "", fmt.Errorf("parameter %s is of type %s: %w", p.Name, p.Type, err)
	}
	kind := ""
	if p.explicit {
		kind = " " + p.Type
	}
	return fmt.Sprintf("%s %s%s = %s", p.keyword, p.Name, kind, form), nil
}

// format returns the literal for a value.
func (p Parameter) format(value string) (string, error) {
	switch p.Type {
	case "string":
		return strconv.Quote(value), nil
	case "bool":
		b, err := strconv.ParseBool(value)
		if err != nil {
			return "", fmt.Errorf("%q is neither true nor false", value)
		}
		return strconv.FormatBool(b), nil
	}
	form := numbers.FindStringSubmatch(p.Type)
	size, err := strconv.Atoi(form[2] + form[3])
	if err != nil {
		size = 64 // int and uint
	}
	var text string
	switch {
	case strings.HasPrefix(p.Type, "float"):
		var f float64
		f, err = strconv.ParseFloat(value, size)
		if math.IsNaN(f) || math.IsInf(f, 0) {
			err = errors.Join(err, strconv.ErrSyntax)
		}
		text = strconv.FormatFloat(f, 'g', -1, size)
		if !strings.ContainsAny(text, ".e") {
			text += ".0" // else it would declare an int
		}
	case form[1] == "u":
		var n uint64
		n, err = strconv.ParseUint(value, 10, size)
		text = strconv.FormatUint(n, 10)
	default:
		var n int64
		n, err = strconv.ParseInt(value, 10, size)
		text = strconv.FormatInt(n, 10)
	}
	if errors.Is(err, strconv.ErrRange) {
		return "", fmt.Errorf("%q is out of its range", value)
	} else if err != nil {
		return "", fmt.Errorf("%q is no such number", value)
	}
	return text, nil
}

// WithParameters returns the notebook with values for parameters, each of the form name=value: a cell tagged
// injected-parameters after the one tagged parameters, whose declarations the kernel replaces by it. A name that is not
// declared, or a value that is not of the declared type, is an error.
func (nb *Notebook) WithParameters(values []string) (*Notebook, error) {
	if len(values) == 0 {
		return nb, nil
	}
	declared, err := nb.Parameters()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, p := range declared {
		names = append(names, p.Name)
	}
	lines := make([]string, len(declared)) // the last value counts
	for _, v := range values {
		name, value, ok := strings.Cut(v, "=")
		if !ok {
			return nil, fmt.Errorf("parameter %q is not of the form name=value", v)
		}
		i := slices.Index(names, name)
		switch {
		case len(names) == 0:
			return nil, fmt.Errorf("no parameter %q: no cell tagged %s declares any", name, parametersTag)
		case i < 0:
			return nil, fmt.Errorf("no parameter %q; did you mean %q? There are: %s", name, suggest.Name(name, names), strings.Join(names, ", "))
		}
		if lines[i], err = declared[i].declare(value); err != nil {
			return nil, err
		}
	}
	lines = slices.DeleteFunc(lines, func(line string) bool { return line == "" })
	injected := Cell{Kind: Code, Source: "// Parameters\n" + strings.Join(lines, "\n"), Metadata: Object{"tags": encode([]string{injectedTag})}}
	out := nb.clone()
	if at := nb.tagged(injectedTag); at >= 0 {
		out.Cells[at] = injected
	} else {
		out.Cells = slices.Insert(out.Cells, nb.tagged(parametersTag)+1, injected)
	}
	out.identify()
	return out, nil
}
