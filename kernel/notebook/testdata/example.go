//go:build ignore

package main

//%% [notebook]
// {
//   "budgetmem": {
//     "shows": [
//       "chart:frontier"
//     ]
//   },
//   "language_info": null
// }

//%% [markdown]
// # A title
//
// Text with `code`, and a line that looks like a mark:
//
// \%% [markdown]

//%%

import "fmt"

//%% tags=["parameters"]

// How many questions to ask, and whom.
var questions = 12
var model = "small"

//%% [magic]
// %%bash
// echo "from a shell"

//%% #own-id collapsed=true {"a key":[1,{}]}

//gonb:%env A=b

// twice doubles.
func twice(n int) int { return 2 * n }

//gonb:!ls -l \
//gonb:  /tmp

func main() { //gonb:%% --verbose
	for i := range questions {
		fmt.Println(twice(i), model)
	}

	//gonb:!date
	fmt.Println(`a raw
	//\%% string`)
}

//%%

func main() {
	fmt.Println("a function of its own")
}
