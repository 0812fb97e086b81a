// Command route uses an exported router (`bmem router export`) in a program that needs the standard library alone. A router with a
// calibration of answers (`bmem calibrate --router`) also says whether a better model should answer too.
//
//	go run ./examples/route < examples/route/questions.json
package main

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"github.com/budgetmem/budgetmem/router/cascade"
	"github.com/budgetmem/budgetmem/router/confidence"
	"github.com/budgetmem/budgetmem/router/portable"
)

//go:embed router.safetensors
var routerFile []byte

// A question comes with its embedding [384] float32 by all-MiniLM-L6-v2, and those of what the modules are about to read.
type question struct {
	Text     string      `json:"text"`
	Query    []float32   `json:"query"`
	Memories [][]float32 `json:"memories"` // means over the retrieved chunks, the kept chunks, the facts; the notes
	// Signals tell a router that decides the answer too how sure the notes are; what is not known is left out.
	Signals map[string]float32 `json:"signals"`
	// Answers are those that are there already, cheapest first.
	Answers []answer `json:"answers"`
}

// An answer comes with its tier, what the question cost up to it, and what the reply's log-probabilities tell.
type answer struct {
	Tier    string             `json:"tier"`
	Dollars float64            `json:"dollars"`
	Signals confidence.Signals `json:"signals"`
}

var memoryOf = map[string]int{"filter": 0, "entity": 1, "temporal": 1, "topic": 1, "summary": 2, "answer": 3}

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "route:", err)
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer) error {
	router, err := portable.Parse(routerFile)
	if err != nil {
		return err
	}
	return route(router, in, out)
}

func route(router *portable.Router, in io.Reader, out io.Writer) error {
	decider := router.NewDecider()
	info := router.Info()
	signals := make([]float32, len(info.Signals))
	for dec := json.NewDecoder(in); dec.More(); {
		var q question
		if err := dec.Decode(&q); err != nil {
			return fmt.Errorf("read a question: %w", err)
		}
		for _, lambda := range []float64{0, 0.5, 1} { // the weight of cost against score
			err := decider.Question(q.Query, lambda)
			for i, s := range info.Signals {
				signals[i] = float32(math.NaN()) // unknown
				if v, ok := q.Signals[s.Name]; ok {
					signals[i] = v
				}
			}
			err = errors.Join(err, decider.Signals(signals))
			fmt.Fprintf(out, "%s λ=%g", q.Text, lambda)
			for m, module := range info.Modules {
				var memory []float32 // nothing was found
				if at := memoryOf[module.Name]; at < len(q.Memories) {
					memory = q.Memories[at]
				}
				err = errors.Join(err, decider.Memory(memory))
				fmt.Fprintf(out, " %s=%s", module.Name, module.Tiers[decider.Decide(m)])
			}
			if info.Answers != nil && len(q.Answers) > 0 {
				fmt.Fprint(out, " ", next(info.Answers, q.Answers, lambda))
			}
			if fmt.Fprintln(out); err != nil {
				return fmt.Errorf("route %q: %w", q.Text, err)
			}
		}
	}
	return nil
}

// next says whether the last answer is good enough, or which tier to ask as well because that pays.
func next(c *cascade.Calibration, answers []answer, lambda float64) string {
	var asked []cascade.Asked
	for _, a := range answers {
		asked = append(asked, cascade.Asked{Reader: c.Index(a.Tier), Signals: a.Signals})
	}
	if reader, pays := c.Next(asked, lambda, answers[len(answers)-1].Dollars); pays {
		return "ask " + c.Readers[reader].Tier + " too"
	}
	return "take " + answers[len(answers)-1].Tier
}
