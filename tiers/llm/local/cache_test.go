package local

import "testing"

// A cache that changes its size keeps what is in use, moved to the first slots.
func TestResizeCacheKeepsWhatIsHeld(t *testing.T) {
	m := openTest(t, smol)
	const B, n = 4, 40
	c, err := m.eng.newCache(B, 256)
	if err != nil {
		t.Fatal(err)
	}
	defer c.finalize()
	// value is what the test writes at a place of the cache.
	value := func(plane, slot, head, at int) float32 { return float32(((plane*B+slot)*m.cfg.KVHeads+head)*1000 + at) }
	each := func(do func(x *float32, plane, slot, head, at int)) {
		t.Helper()
		if err := c.edit(func(plane int, data []float32) {
			for slot := range B {
				for head := range m.cfg.KVHeads {
					for at := range n {
						do(&data[((slot*m.cfg.KVHeads+head)*c.T+at)*m.cfg.HeadDim+at%m.cfg.HeadDim], plane, slot, head, at)
					}
				}
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	each(func(x *float32, plane, slot, head, at int) { *x = value(plane, slot, head, at) })
	held := []heldSlot{{1, n}, {3, n - 7}}
	for _, T := range []int{512, 256} {
		if err := m.eng.resizeCache(c, B, T, held); err != nil {
			t.Fatal(err)
		}
		wrong := 0
		each(func(x *float32, plane, slot, head, at int) {
			if slot < 2 && at < []int{n, n - 7}[slot] && *x != value(plane, []int{1, 3}[slot], head, at) {
				wrong++
			}
		})
		if wrong > 0 || c.T != T {
			t.Errorf("after the move to %d tokens (asked %d), %d values differ", c.T, T, wrong)
		}
		held = []heldSlot{{0, n}, {1, n - 7}}
	}
}
