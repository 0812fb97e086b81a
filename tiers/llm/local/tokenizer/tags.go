package tokenizer

import (
	"errors"

	"github.com/nikolalohinski/gonja/v2/builtins"
	controlStructures "github.com/nikolalohinski/gonja/v2/builtins/control_structures"
	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/nodes"
	"github.com/nikolalohinski/gonja/v2/parser"
	"github.com/nikolalohinski/gonja/v2/tokens"
)

// stepTag counts a turn of a loop; checkSource puts it there.
type stepTag struct{ at *tokens.Token }

func parseStep(p *parser.Parser, _ *parser.Parser) (nodes.ControlStructure, error) {
	return &stepTag{p.Current()}, nil
}

func (s *stepTag) Position() *tokens.Token { return s.at }
func (s *stepTag) String() string          { return "step" }
func (s *stepTag) Execute(r *exec.Renderer, _ *nodes.ControlStructureBlock) error {
	state, err := renderOf(r.Environment.Context)
	if err != nil {
		return err
	}
	return state.step(r.Output)
}

// macroTag defines a macro whose calls are counted, and whose arguments are bounded.
type macroTag struct {
	nodes.ControlStructure
	macro *nodes.Macro
}

func parseMacro(p *parser.Parser, args *parser.Parser) (nodes.ControlStructure, error) {
	own, _ := builtins.ControlStructures.Get("macro")
	c, err := own(p, args)
	if err != nil {
		return nil, err
	}
	m, ok := c.(*controlStructures.MacroControlStructure)
	if !ok {
		return nil, errors.New("the template engine's macros have changed")
	}
	return &macroTag{m, m.Macro}, nil
}

// Execute implements exec.ControlStructure.
func (m *macroTag) Execute(r *exec.Renderer, _ *nodes.ControlStructureBlock) error {
	call, err := exec.MacroNodeToFunc(m.macro, r)
	if err != nil {
		return err
	}
	state, err := renderOf(r.Environment.Context)
	if err != nil {
		return err
	}
	r.Environment.Context.Set(m.macro.Name, exec.Macro(func(args *exec.VarArgs) *exec.Value {
		if err := state.step(nil); err != nil {
			return exec.AsValue(err)
		}
		if state.depth++; state.depth > maxNesting {
			return exec.AsValue(state.beyond("macros call each other more than %d deep", maxNesting))
		}
		defer func() { state.depth-- }()
		for _, a := range args.Args {
			if err := state.keep(a); err != nil {
				return exec.AsValue(err)
			}
		}
		for _, a := range args.KwArgs {
			if err := state.keep(a); err != nil {
				return exec.AsValue(err)
			}
		}
		out := call(args)
		if err := state.keep(out); err != nil {
			return exec.AsValue(err)
		}
		return out
	}))
	return nil
}

// setTag runs the engine's set and then bounds what was set.
type setTag struct {
	exec.ControlStructure
	target nodes.Expression
}

func parseSet(p *parser.Parser, args *parser.Parser) (nodes.ControlStructure, error) {
	own, _ := builtins.ControlStructures.Get("set")
	mark := args.Stream().Current()
	c, err := own(p, args)
	if err != nil {
		return nil, err
	}
	run, ok := c.(exec.ControlStructure)
	if !ok || mark == nil {
		return nil, errors.New("the template engine's set has changed")
	}
	return &setTag{ControlStructure: run, target: &nodes.Name{Name: mark}}, nil
}

// Execute implements exec.ControlStructure.
func (s *setTag) Execute(r *exec.Renderer, block *nodes.ControlStructureBlock) error {
	state, err := renderOf(r.Environment.Context)
	if err != nil {
		return err
	}
	if err := state.step(nil); err != nil {
		return err
	}
	if err := s.ControlStructure.Execute(r, block); err != nil {
		return err
	}
	// The first name of the target holds what was set: itself, or in the namespace of that name.
	return state.keep(r.Eval(s.target))
}

// watchedTag looks whether the rendering is cancelled before it runs the engine's tag.
type watchedTag struct{ exec.ControlStructure }

// parseWatched parses a tag of the engine, so that it is watched, and its conditions too.
func parseWatched(own parser.ControlStructureParser) parser.ControlStructureParser {
	return func(p *parser.Parser, args *parser.Parser) (nodes.ControlStructure, error) {
		c, err := own(p, args)
		if err != nil {
			return nil, err
		}
		switch c := c.(type) {
		case *controlStructures.IfControlStructure:
			for i, condition := range c.Conditions {
				c.Conditions[i] = watched(condition)
			}
		case *controlStructures.ForControlStructure:
			if c.IfCondition != nil {
				c.IfCondition = watched(c.IfCondition)
			}
		}
		run, ok := c.(exec.ControlStructure)
		if !ok {
			return nil, errors.New("the template engine's tags have changed")
		}
		return &watchedTag{run}, nil
	}
}

// Execute implements exec.ControlStructure.
func (w *watchedTag) Execute(r *exec.Renderer, block *nodes.ControlStructureBlock) error {
	state, err := renderOf(r.Environment.Context)
	if err == nil {
		err = state.alive()
	}
	if err != nil {
		return err
	}
	return w.ControlStructure.Execute(r, block)
}

// aliveFilter is the name of a filter that makes its input false once the rendering is cancelled, which no template can spell. Render
// returns why it stopped.
const aliveFilter = "budgetmem alive"

func whileAlive(e *exec.Evaluator, in *exec.Value, _ *exec.VarArgs) *exec.Value {
	r, err := renderOf(e.Environment.Context)
	if err == nil {
		err = r.alive()
	}
	if err != nil {
		return exec.AsValue(false)
	}
	return in
}

// watched is an expression that is evaluated while the rendering goes on: "true|alive and expression".
func watched(x nodes.Expression) nodes.Expression {
	at := x.Position()
	and := &tokens.Token{Type: tokens.And, Val: "and"}
	if at != nil {
		and.Pos, and.Line, and.Col = at.Pos, at.Line, at.Col
	}
	alive := &nodes.FilteredExpression{Expression: &nodes.Bool{Location: and, Val: true}, Filters: []*nodes.FilterCall{{Token: and, Name: aliveFilter}}}
	return &nodes.BinaryExpression{Left: alive, Operator: &nodes.BinOperator{Token: and}, Right: x}
}
