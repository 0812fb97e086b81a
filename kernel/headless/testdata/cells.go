//go:build ignore

package main

//%% [markdown]
// # Parameters

//%% tags=["parameters"]

import "fmt"

var questions = 12 // how many
var lambda = 0.5
var model = "small"

const verbose = false

//%%

func twice(n int) int { return 2 * n }

//%%

func main() { //gonb:%%
	fmt.Printf("%d %v %T %s %v", twice(questions), lambda, lambda, model, verbose)
}
