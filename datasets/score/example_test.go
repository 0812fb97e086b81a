package score_test

import (
	"fmt"

	"github.com/budgetmem/budgetmem/datasets/score"
)

func Example() {
	m, err := score.Lookup("locomo")
	if err != nil {
		fmt.Println(err)
		return
	}
	r, err := m.Score(score.Item{Prediction: "pottery, camping", Gold: []string{"Pottery, painting"}, Category: "multi-hop"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(r.Score)
	// Output: 0.5
}

func ExampleLoCoMoF1() {
	fmt.Printf("%.2f\n", score.LoCoMoF1("The dogs are running", "dog runs"))
	// Output: 0.80
}

func ExampleRecall() {
	retrieved, evidence := []string{"D1:3", "D4:1", "D2:2"}, []string{"D1:3", "D2:2"}
	fmt.Println(score.Recall(retrieved, evidence, 2), score.Recall(retrieved, evidence, 3))
	// Output: 0.5 1
}
