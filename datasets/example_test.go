package datasets_test

import (
	"context"
	"fmt"

	"github.com/budgetmem/budgetmem/datasets"
)

func Example() {
	ctx := context.Background()
	d, err := datasets.Open("locomo", datasets.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	train, err := d.Questions(ctx, datasets.Train)
	if err != nil {
		fmt.Println(err)
		return
	}
	history, err := d.History(ctx, train[0].History)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(len(train), "questions, scored by", d.Metric())
	fmt.Println(history.Turns[0].ID, history.Turns[0].Time)
	// Output:
	// 885 questions, scored by locomo
	// D1:1 11:01 am on 17 December, 2022
}
