// Command route uses an exported router (`bmem router export`) in a program that needs the standard library alone.
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
			if fmt.Fprintln(out); err != nil {
				return fmt.Errorf("route %q: %w", q.Text, err)
			}
		}
	}
	return nil
}
