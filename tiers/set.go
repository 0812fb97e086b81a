package tiers

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/budgetmem/budgetmem/internal/strictyaml"
	"github.com/budgetmem/budgetmem/internal/suggest"
	"github.com/budgetmem/budgetmem/tiers/llm"
)

// Spec describes a tier set: for every module its tiers, cheapest first. It is what a YAML file such as those of the
// shipped sets says:
//
//	about: rules to filter, a small and a large model to sum up
//	modules:
//	  filter:
//	    - {tier: low, method: keywords}
//	    - {tier: high, method: llm, prompt: steps, model: large}
//	  …
//
// A module has at least two tiers. The names of tiers are free. The modules entity, temporal and topic may be left out, if their
// lists are not worth their price, and so may answer: answers are then all written by Deps.Client, in one way.
type Spec struct {
	// Name is the shipped set's name or the file's path.
	Name string `yaml:"-" json:"name"`
	// About says in a line what the tiers differ in.
	About string `yaml:"about" json:"about,omitempty"`
	// Modules holds the tiers by the module's name.
	Modules map[string][]TierSpec `yaml:"modules" json:"modules"`
}

// TierSpec describes one tier.
type TierSpec struct {
	// Tier is its name, unique in its module.
	Tier string `yaml:"tier" json:"tier"`
	// Method is how the module's work is done; see Methods.
	Method string `yaml:"method" json:"method"`
	// Prompt is the style of the prompt, of methods that ask a language model: "direct" (the default), "steps" or "reflect"; of
	// the answer "examples" (the default) or "short".
	Prompt string `yaml:"prompt" json:"prompt,omitempty"`
	// Samples is how many replies the answer's method mbr samples, at least 2.
	Samples int `yaml:"samples" json:"samples,omitempty"`
	// Model is the role of the model that is asked, a key of Deps.Models such as "small"; empty means Deps.Client.
	Model string `yaml:"model" json:"model,omitempty"`
}

// The names of the shipped tier sets, which are the paper's axes.
const (
	ImplementationAxis = "implementation"
	ReasoningAxis      = "reasoning"
	CapacityAxis       = "capacity"
)

// QuotesSet is the shipped tier set whose mid notes are quoted turns alone, which models tuned by `bmem tune` read.
const QuotesSet = "quotes"

// ReadersSet is the shipped tier set that routes the answer too: rules, a model, a larger model. Its Low costs less than its Mid, and
// that less than its High.
const ReadersSet = "readers"

// BreadthSet is the shipped tier set that routes how many turns the notes quote, and the answer as ReadersSet does. No language model
// is asked before the answer.
const BreadthSet = "breadth"

// RerankedSet is the shipped tier set whose filter at high asks a trained reranker, in the role "reranker".
const RerankedSet = "reranked"

// Routed lists the modules whose tier is to be chosen, in order: those that the set has tiers for.
func (s Spec) Routed() []Module {
	return slices.DeleteFunc(Modules(), func(m Module) bool { return len(s.Modules[m.String()]) == 0 })
}

// Axes lists the shipped tier sets.
func Axes() []string {
	return []string{ImplementationAxis, ReasoningAxis, CapacityAxis, QuotesSet, ReadersSet, BreadthSet, RerankedSet}
}

//go:embed sets/*.yaml
var setFiles embed.FS

// LoadSpec returns a shipped tier set by its name, or reads one from a YAML file. The error of a file names what is wrong
// in it and, for an unknown name, the nearest right one.
func LoadSpec(name string) (Spec, error) {
	var data []byte
	var err error
	switch {
	case slices.Contains(Axes(), name):
		data, err = setFiles.ReadFile(path.Join("sets", name+".yaml"))
	case strings.ContainsAny(name, `/\.`):
		data, err = os.ReadFile(name)
	default:
		return Spec{}, fmt.Errorf("%w; a path such as ./mine.yaml names a file", unknown("tier set", name, Axes()))
	}
	if err != nil {
		return Spec{}, fmt.Errorf("read tier set: %w", err)
	}
	return ParseSpec(name, data)
}

// maxSpec bounds a tier set's file, in bytes; YAML aliases could make a small file large.
const maxSpec = 64 << 10

// ParseSpec reads a tier set from YAML and checks it. The name stands in errors and records.
func ParseSpec(name string, data []byte) (Spec, error) {
	s := Spec{Name: name}
	if len(data) > maxSpec {
		return s, fmt.Errorf("tier set %s: %d bytes; at most %d", name, len(data), maxSpec)
	}
	if err := strictyaml.Decode(data, &s); err != nil {
		return s, fmt.Errorf("tier set %s: %w", name, err)
	}
	if err := s.check(); err != nil {
		return s, fmt.Errorf("tier set %s: %w", name, err)
	}
	return s, nil
}

func (s Spec) check() error {
	var errs []error
	for name := range s.Modules {
		if !slices.Contains(moduleNames[:], name) {
			errs = append(errs, unknown("module", name, moduleNames[:]))
		}
	}
	for _, m := range Modules() {
		list, there := s.Modules[m.String()]
		if !there && m != Filter && m != Summary {
			continue
		}
		if len(list) < 2 {
			errs = append(errs, fmt.Errorf("module %s has %d tiers; a choice needs at least 2", m, len(list)))
		}
		seen := map[string]bool{}
		for i, t := range list {
			if err := t.check(m); err != nil {
				errs = append(errs, fmt.Errorf("module %s, tier %d: %w", m, i+1, err))
			}
			if seen[t.Tier] {
				errs = append(errs, fmt.Errorf("module %s, tier %d: the name %q is taken", m, i+1, t.Tier))
			}
			seen[t.Tier] = true
		}
	}
	return errors.Join(errs...)
}

func (t TierSpec) check(m Module) error {
	// Policies are written as names joined by commas, with "random", "cascade@0.3" and "router:FILE" among them.
	if t.Tier == "" || t.Tier == "random" || t.Tier == "cascade" || strings.ContainsAny(t.Tier, ",:+@ \t\n") {
		return fmt.Errorf("tier %q: give a name without commas, colons, plus signs, at signs and spaces, other than \"random\" and \"cascade\"", t.Tier)
	}
	names := Methods(m)
	if !slices.Contains(names, t.Method) {
		return unknown("method", t.Method, names)
	}
	prompts := promptStyles
	if m == Answering {
		prompts = answerPrompts
	}
	if t.Prompt != "" && !slices.Contains(prompts, t.Prompt) {
		return unknown("prompt", t.Prompt, prompts)
	}
	if mbr := m == Answering && t.Method == mbrMethod; mbr && (t.Samples < 2 || t.Samples > maxSamples) {
		return fmt.Errorf("method %q with %d samples: give samples, 2 to %d", t.Method, t.Samples, maxSamples)
	} else if !mbr && t.Samples != 0 {
		return fmt.Errorf("method %q samples nothing, so samples has no meaning; the answer's method %q does", t.Method, mbrMethod)
	}
	if !t.AsksModel(m) && (t.Prompt != "" || t.Model != "") {
		return fmt.Errorf("method %q asks no model, so prompt and model have no meaning", t.Method)
	}
	return nil
}

// AsksModel says whether the tier of a module asks a language model; others cost nothing.
func (t TierSpec) AsksModel(m Module) bool { return methods[m][t.Method].plan != nil }

// maxSamples bounds what one call may draw.
const maxSamples = 64

func unknown(what, name string, known []string) error {
	return fmt.Errorf("unknown %s %q; did you mean %q? There are %s", what, name, suggest.Name(name, known), strings.Join(known, ", "))
}

// Models lists the roles of models that the set needs beside the default one, in alphabetical order.
func (s Spec) Models() []string {
	var out []string
	for _, list := range s.Modules {
		for _, t := range list {
			if t.Model != "" && !slices.Contains(out, t.Model) {
				out = append(out, t.Model)
			}
		}
	}
	slices.Sort(out)
	return out
}

// Hash identifies what the set says: 12 hexadecimal digits. Comments, order of the modules and the file's name do not count.
func (s Spec) Hash() string {
	h := sha256.New()
	for m := Filter; m < Answering; m++ {
		fmt.Fprintf(h, "%s %q\n", m, hashed(s.Modules[m.String()]))
	}
	if list := s.Modules[Answering.String()]; len(list) > 0 {
		// The short prompt is no part of PromptHash.
		short, err := TunedHash(NotesTemplate)
		if err != nil {
			panic(err) // an embedded file cannot be missing
		}
		fmt.Fprintf(h, "%s %q", Answering, hashed(list))
		for _, t := range list {
			fmt.Fprintf(h, " %d", t.Samples)
		}
		fmt.Fprintf(h, " %s\n", short)
	}
	return hex.EncodeToString(h.Sum(nil))[:12]
}

// hashed is what Hash reads of a module's tiers. Fields that are added to TierSpec must not change the hashes of earlier sets.
func hashed(list []TierSpec) []struct{ Tier, Method, Prompt, Model string } {
	out := make([]struct{ Tier, Method, Prompt, Model string }, len(list))
	for i, t := range list {
		out[i].Tier, out[i].Method, out[i].Prompt, out[i].Model = t.Tier, t.Method, t.Prompt, t.Model
	}
	return out
}

// Build makes the set. It returns an error if Deps lacks a model that a tier needs.
func (s Spec) Build(deps Deps) (Set, error) {
	if err := s.check(); err != nil {
		return Set{}, fmt.Errorf("tier set %s: %w", s.Name, err)
	}
	base := newToolbox(deps)
	var set Set
	for _, m := range Modules() {
		for _, t := range s.Modules[m.String()] {
			tb := *base
			tb.style, tb.samples, tb.served = styleOf(t.Prompt), t.Samples, s.servedBy(m)
			if t.AsksModel(m) {
				if tb.Client = client(deps, t.Model); tb.Client == nil {
					return Set{}, fmt.Errorf("tier set %s: module %s, tier %s needs a model in the role %q", s.Name, m, t.Tier, t.Model)
				}
			}
			if _, scores := llm.AsScorer(tb.Client); t.Method == rerankedMethod && !scores {
				return Set{}, fmt.Errorf("tier set %s: module %s, tier %s: %s is no reranker; `bmem tune reranker` trains one", s.Name, m, t.Tier, tb.Client.Model())
			}
			set[m] = append(set[m], tb.tier(m, t.Tier, methods[m][t.Method]))
		}
	}
	return set, nil
}

func client(deps Deps, role string) llm.Client {
	if role == "" {
		return deps.Client
	}
	return deps.Models[role]
}

// servedBy returns how a module's Step names a method that serves in place of the tier's own: by the first tier of the set
// that uses it, else by its own name.
func (s Spec) servedBy(m Module) func(method string) string {
	return func(method string) string {
		for _, t := range s.Modules[m.String()] {
			if t.Method == method {
				return t.Tier
			}
		}
		return method
	}
}

// Implementation builds the shipped set of that axis; see its file. It returns an error without a Client.
func Implementation(deps Deps) (Set, error) {
	s, err := LoadSpec(ImplementationAxis)
	if err != nil {
		return Set{}, err
	}
	return s.Build(deps)
}

// styleOf is what templates know a prompt's style by: "" for the direct one.
func styleOf(prompt string) string {
	if prompt == Direct {
		return ""
	}
	return prompt
}
