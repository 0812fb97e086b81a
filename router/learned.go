package router

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/budgetmem/budgetmem/router/portable"
)

// Learned decides by a trained router: for each module the tier that it finds best at a λ.
type Learned struct {
	router   *portable.Router
	lambda   float64
	deciders *sync.Pool
}

// NewLearned returns the policy of a router at a λ. The router must have been trained for the same modules and tiers as
// space, and for a range that λ lies in.
func NewLearned(r *portable.Router, space Space, lambda float64) (*Learned, error) {
	info := r.Info()
	if !space.equal(info.Modules) {
		return nil, fmt.Errorf("the router was trained for the tiers %v, this memory has %v", info.Modules, space)
	}
	l := &Learned{router: r, deciders: &sync.Pool{New: func() any { return r.NewDecider() }}}
	return l.At(lambda)
}

// openLearned reads FILE or FILE@λ. What follows the last @ is part of the file's name if it is no number.
func openLearned(spec string, space Space) (*Learned, error) {
	file, lambda, given := spec, 0.0, false
	if i := strings.LastIndexByte(spec, '@'); i >= 0 {
		if l, err := strconv.ParseFloat(spec[i+1:], 64); err == nil {
			file, lambda, given = spec[:i], l, true
		}
	}
	r, err := portable.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if !given {
		lambda = r.Info().Lambda.Min
	}
	return NewLearned(r, space, lambda)
}

// At returns the same router's policy at another λ, which must lie in the range that it was trained for.
func (l *Learned) At(lambda float64) (*Learned, error) {
	if r := l.router.Info().Lambda; !(lambda >= r.Min && lambda <= r.Max) {
		return nil, fmt.Errorf("λ is %v, the router was trained for %v to %v", lambda, r.Min, r.Max)
	}
	c := *l
	c.lambda = lambda
	return &c, nil
}

// Info returns what the router is for.
func (l *Learned) Info() portable.Info { return l.router.Info() }

// Lambda is the λ that it decides at.
func (l *Learned) Lambda() float64 { return l.lambda }

// Name implements Policy: "router@0.3" at λ = 0.3.
func (l *Learned) Name() string { return "router@" + strconv.FormatFloat(l.lambda, 'g', -1, 64) }

// Decide implements Policy.
func (l *Learned) Decide(ctx context.Context, s State) (int, error) {
	memory, err := s.Memory(ctx)
	if err != nil {
		return 0, err
	}
	d := l.deciders.Get().(*portable.Decider)
	defer l.deciders.Put(d)
	if err := d.Question(s.Query, l.lambda); err != nil {
		return 0, err
	}
	if err := d.Memory(memory); err != nil {
		return 0, err
	}
	return d.Decide(s.Module), nil
}
