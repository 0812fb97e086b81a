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
