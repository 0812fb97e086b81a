package router

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

// RandomCombination gives a question the k-th combination of tiers in a random order of the question's own. The policies with
// k = 1 … n give each question n different combinations, drawn uniformly, which is what to collect for offline learning.
type RandomCombination struct {
	k            int
	seed         int64
	combinations [][]int
}

// NewRandomCombination returns the policy for a seed and for k, from 1 to the number of combinations. Any other k, and a space
// with more than 4,096 combinations, are errors.
func NewRandomCombination(space Space, seed int64, k int) (*RandomCombination, error) {
	all, err := space.Combinations()
	if err != nil {
		return nil, err
	}
	if k < 1 || k > len(all) {
		return nil, fmt.Errorf("combination %d of %d: give a number from 1 to %d", k, len(all), len(all))
	}
	return &RandomCombination{k, seed, all}, nil
}

// parseRandomCombination reads what follows "random:".
func parseRandomCombination(number string, space Space, seed int64) (*RandomCombination, error) {
	k, err := strconv.Atoi(strings.TrimSpace(number))
	if err != nil {
		return nil, fmt.Errorf("%q is not the number of a combination", number)
	}
	return NewRandomCombination(space, seed, k)
}

// Name implements Policy: "random:3".
func (s *RandomCombination) Name() string { return "random:" + strconv.Itoa(s.k) }

// Decide implements Policy. It never fails.
func (s *RandomCombination) Decide(_ context.Context, st State) (int, error) {
	order := rand.New(rand.NewPCG(questionSeed(s.seed, st.Question), 0)).Perm(len(s.combinations))
	return s.combinations[order[s.k-1]][st.Module], nil
}
