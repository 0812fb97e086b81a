// Command route shows how a program of its own uses a trained router: the router's file is part of the binary, the standard
// library is all it needs besides, and a question's decisions take some tens of microseconds.
//
//	go run ./examples/route            the questions of questions.json, at λ 0, 0.5 and 1
//	go run ./examples/route 0.3 <FILE  questions of one's own, one JSON object a line, at λ 0.3
//
// A question is {"text", "query", "memories"}: its embedding [384] by all-MiniLM-L6-v2, and what the filter, the relation
// modules and the summary look at, an embedding each (the means over the retrieved chunks, the kept chunks and the facts). An
// agent asks for one decision, runs that module, and only then knows the next memory; here all are given at once.
//
// The router here is a small one, trained on made-up payoffs; put one that `bmem router export` wrote in its place.
package main

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/budgetmem/budgetmem/router/portable"
)

//go:embed router.safetensors
var routerFile []byte

//go:embed questions.json
var sample []byte

// states says which of a question's memories each module looks at: filter, then entity, temporal and topic, then summary.
var states = []int{0, 1, 1, 1, 2}

type question struct {
	Text     string      `json:"text"`
	Query    []float32   `json:"query"`
	Memories [][]float32 `json:"memories"`
}

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "route:", err)
		os.Exit(1)
	}
}

func run(args []string, in io.Reader, out io.Writer) error {
	r, err := portable.Parse(routerFile)
	if err != nil {
		return err
	}
	lambdas := []float64{0, 0.5, 1}
	if len(args) == 0 {
		in = bytes.NewReader(sample)
	} else {
		l, err := strconv.ParseFloat(args[0], 64)
		if err != nil {
			return fmt.Errorf("λ %q is no number", args[0])
		}
		lambdas = []float64{l}
	}
	d := r.NewDecider()
	for dec := json.NewDecoder(in); ; {
		var q question
		if err := dec.Decode(&q); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read a question: %w", err)
		}
		fmt.Fprintln(out, q.Text)
		for _, lambda := range lambdas {
			if err := route(d, r.Info(), q, lambda, out); err != nil {
				return fmt.Errorf("route %q: %w", q.Text, err)
			}
		}
	}
}

// route writes the tier of each module.
func route(d *portable.Decider, info portable.Info, q question, lambda float64, out io.Writer) error {
	if len(q.Memories) != 3 || len(info.Modules) != len(states) {
		return fmt.Errorf("%d memories for %d modules; this program knows 3 for %d", len(q.Memories), len(info.Modules), len(states))
	}
	if err := d.Question(q.Query, lambda); err != nil {
		return err
	}
	fmt.Fprintf(out, "  λ %-4g", lambda)
	for m, state := range states {
		if err := d.Memory(q.Memories[state]); err != nil {
			return err
		}
		fmt.Fprintf(out, " %s=%s", info.Modules[m].Name, info.Modules[m].Tiers[d.Decide(m)])
	}
	fmt.Fprintln(out)
	return nil
}
