package local

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/budgetmem/budgetmem/tiers/llm"
)

// rowsOf computes ids in chunks of S tokens in slot b of B, and returns the hidden rows of all of them.
func rowsOf(t *testing.T, e *engine, ids []int32, B, S, T, b int) []float32 {
	t.Helper()
	c, err := e.newCache(B, T)
	if err != nil {
		t.Fatal(err)
	}
	defer c.finalize()
	var rows []float32
	for from := 0; from < len(ids); from += S {
		n := min(S, len(ids)-from)
		tokens, pos0 := make([]int32, B*S), make([]int32, B)
		for i := range tokens {
			tokens[i] = int32(1000 + 7*i) // company in the other slots
		}
		copy(tokens[b*S:], ids[from:from+n])
		clear(tokens[b*S+n : (b+1)*S])
		pos0[b] = int32(from)
		err := e.forward(tokens, pos0, c, func(hidden, kv []float32) error {
			rows = append(rows, hidden[b*S*e.cfg.Dim:][:n*e.cfg.Dim]...)
			return c.edit(func(plane int, data []float32) {
				for h := range e.cfg.KVHeads {
					copy(data[((b*e.cfg.KVHeads+h)*T+from)*e.cfg.HeadDim:][:n*e.cfg.HeadDim], kvRows{kv, B, S, b}.plane(e.cfg, plane, h, 0))
				}
			})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return rows
}

// What a prompt's rows come out as must not depend on how it is computed, bit for bit.
func TestRowsDoNotDependOnBatching(t *testing.T) {
	m := openTest(t, smol, Options{})
	ids := m.tok.Encode(strings.Repeat("Caroline went to the market on 7 May 2023 and bought three pears; Melanie painted a sunrise. ", 16), false)[:330]
	want := rowsOf(t, m.eng, ids, 1, 256, 512, 0)
	for _, v := range []struct{ B, S, T, b int }{{1, 64, 512, 0}, {8, 32, 512, 3}, {8, 32, 1024, 7}, {1, 256, 2048, 0}, {8, 32, 2048, 0}, {1, 64, 1536, 0}} {
		t.Run(fmt.Sprintf("B=%d,S=%d,T=%d,slot=%d", v.B, v.S, v.T, v.b), func(t *testing.T) {
			got := rowsOf(t, m.eng, ids, v.B, v.S, v.T, v.b)
			differ := 0
			for i := range want {
				if got[i] != want[i] {
					if differ == 0 {
						t.Logf("first at row %d", i/m.cfg.Dim)
					}
					differ++
				}
			}
			if differ > 0 {
				t.Errorf("%d of %d values differ", differ, len(want))
			}
		})
	}
}

var _ = slices.Max[[]int]
var _ sync.Mutex
var _ llm.Client
var _ context.Context
