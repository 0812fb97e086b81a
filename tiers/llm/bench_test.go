package llm_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

// BenchmarkStack is the time that the whole stack adds to a call, 64 in flight: for calls that are made and stored, with
// and without a ledger on disk, and for replies from the cache.
func BenchmarkStack(b *testing.B) {
	for _, kind := range []string{"new", "new, ledger on disk", "cached"} {
		b.Run(kind, func(b *testing.B) {
			dir := b.TempDir()
			ledger := newLedger(b, 1e6)
			if kind == "new, ledger on disk" {
				var err error
				if ledger, err = llm.OpenLedger(filepath.Join(dir, "spend.db"), 1e6); err != nil {
					b.Fatal(err)
				}
				defer ledger.Close()
			}
			c := stack(b, &llmtest.Client{}, llm.StackOptions{Ledger: ledger, Cache: openCache(b, filepath.Join(dir, "c.db"))})
			mustChat(b, c, ask("0"))
			var n atomic.Int64
			b.SetParallelism(32)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					text := "0"
					if kind != "cached" {
						text = fmt.Sprint(n.Add(1))
					}
					if _, err := c.Chat(context.Background(), ask(text)); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
