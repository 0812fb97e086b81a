package tune

import (
	"math/rand/v2"
	"testing"
)

// Packs hold every sequence once, are large enough, and are padded by less than an eighth.
func TestPacksFit(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var seqs []sequence
		members := rng.Perm(1 + rng.IntN(20))
		for range members {
			n := 2 + rng.IntN(700)
			seqs = append(seqs, sequence{tokens: make([]int32, n), prompt: n - 1 - rng.IntN(min(n-1, 12))})
		}
		p, err := newPacker(seqs, 16<<rng.IntN(6), 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, packs := range [][]pack{p.inOrder(), p.batch(members)} {
			seen := map[int]bool{}
			for _, k := range packs {
				n, class := 0, p.tokens
				for _, m := range k.members {
					if seen[m] {
						t.Fatalf("sequence %d is in two packs", m)
					}
					seen[m] = true
					n += len(seqs[m].tokens)
				}
				for class < n {
					class *= 2
				}
				if k.size < n || k.size > class || k.size-n >= class/8 {
					t.Errorf("a pack of %d for %d tokens", k.size, n)
				}
			}
			if len(seen) != len(seqs) {
				t.Errorf("%d of %d sequences are in packs", len(seen), len(seqs))
			}
		}
	}
}
