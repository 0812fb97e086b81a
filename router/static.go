package router

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strings"
)

// Static gives every question the same tiers.
type Static struct {
	name   string
	choice []int
}

// NewStatic returns the policy that gives module m the tier choice[m]. Its name is that of the tier if all modules have the
// same, else the names joined by commas. A choice that the space does not have is an error.
func NewStatic(space Space, choice []int) (*Static, error) {
	if len(choice) != len(space) {
		return nil, fmt.Errorf("static policy: %d tiers for the %d modules %s", len(choice), len(space), space.names())
	}
	names := make([]string, len(choice))
	uniform := true
	for m, i := range choice {
		if i < 0 || i >= len(space[m].Tiers) {
			return nil, fmt.Errorf("static policy: module %s has tiers 0 to %d, not %d", space[m].Name, len(space[m].Tiers)-1, i)
		}
		names[m] = space[m].Tiers[i]
		uniform = uniform && names[m] == names[0]
	}
	s := &Static{name: strings.Join(names, ","), choice: append([]int(nil), choice...)}
	if uniform && len(names) > 0 {
		s.name = names[0]
	}
	return s, nil
}

// Name implements Policy.
func (s *Static) Name() string { return s.name }

// Decide implements Policy. It never fails.
func (s *Static) Decide(_ context.Context, st State) (int, error) { return s.choice[st.Module], nil }

// Random chooses every tier with equal probability. The choice depends on the seed, the question and the module alone, so
// neither the order of the questions nor their concurrency changes it.
type Random struct {
	seed  int64
	tiers []int // [modules] number of tiers
}

// NewRandom returns the random policy for a seed.
func NewRandom(space Space, seed int64) *Random {
	r := &Random{seed: seed, tiers: make([]int, len(space))}
	for m := range space {
		r.tiers[m] = len(space[m].Tiers)
	}
	return r
}

// Name implements Policy.
func (r *Random) Name() string { return "random" }

// Decide implements Policy. It never fails.
func (r *Random) Decide(_ context.Context, st State) (int, error) {
	// The module selects PCG's stream, so that the choices for a question are independent.
	return rand.New(rand.NewPCG(questionSeed(r.seed, st.Question), uint64(st.Module))).IntN(r.tiers[st.Module]), nil
}

// questionSeed hashes a seed and a question's identifier.
func questionSeed(seed int64, question string) uint64 {
	h := fnv.New64a()
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], uint64(seed))
	h.Write(b[:])
	h.Write([]byte(question))
	return h.Sum64()
}
