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
	"os"

	"github.com/budgetmem/budgetmem/router/portable"
)

//go:embed router.safetensors
var routerFile []byte

// A question comes with its embedding [384] float32 by all-MiniLM-L6-v2, and those of what the modules are about to read.
type question struct {
	Text     string       `json:"text"`
	Query    []float32    `json:"query"`
	Memories [3][]float32 `json:"memories"` // means over the retrieved chunks, the kept chunks, the facts
}

var memoryOf = []int{0, 1, 1, 1, 2} // filter; entity, temporal and topic; summary

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
	decider := router.NewDecider()
	for dec := json.NewDecoder(in); dec.More(); {
		var q question
		if err := dec.Decode(&q); err != nil {
			return fmt.Errorf("read a question: %w", err)
		}
		for _, lambda := range []float64{0, 0.5, 1} { // the weight of cost against score
			err := decider.Question(q.Query, lambda)
			fmt.Fprintf(out, "%s λ=%g", q.Text, lambda)
			for m, module := range router.Info().Modules {
				err = errors.Join(err, decider.Memory(q.Memories[memoryOf[m]]))
				fmt.Fprintf(out, " %s=%s", module.Name, module.Tiers[decider.Decide(m)])
			}
			if fmt.Fprintln(out); err != nil {
				return fmt.Errorf("route %q: %w", q.Text, err)
			}
		}
	}
	return nil
}
