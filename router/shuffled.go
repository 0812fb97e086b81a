package router

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

// Shuffled gives a question the K-th combination of tiers of a shuffle of them all that is the question's own. The policies
// K = 1 … n ask a question n different combinations, each drawn evenly: what traces to learn from are made of.
type Shuffled struct {
	k            int
	seed         int64
	combinations [][]int
}

// NewShuffled returns the policy of a seed and of K, from 1 to the number of combinations.
func NewShuffled(space Space, seed int64, k int) (*Shuffled, error) {
	all, err := space.Combinations()
	if err != nil {
		return nil, err
	}
	if k < 1 || k > len(all) {
		return nil, fmt.Errorf("number %d of %d combinations of tiers: give one from 1 to %d", k, len(all), len(all))
	}
	return &Shuffled{k, seed, all}, nil
}

// parseShuffled reads what follows "random:".
func parseShuffled(number string, space Space, seed int64) (*Shuffled, error) {
	k, err := strconv.Atoi(strings.TrimSpace(number))
	if err != nil {
		return nil, fmt.Errorf("%q is no number of a combination", number)
	}
	return NewShuffled(space, seed, k)
}

// Name implements Policy: "random:3".
func (s *Shuffled) Name() string { return "random:" + strconv.Itoa(s.k) }

// Decide implements Policy; it looks at the question's name and the module only.
func (s *Shuffled) Decide(_ context.Context, st State) (int, error) {
	order := rand.New(rand.NewPCG(questionSeed(s.seed, st.Question), 0)).Perm(len(s.combinations))
	return s.combinations[order[s.k-1]][st.Module], nil
}
