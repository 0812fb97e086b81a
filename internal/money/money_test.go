package money

import (
	"math"
	"testing"
)

func TestText(t *testing.T) {
	for dollars, want := range map[float64]string{
		0: "0.000000", 12.5: "12.500000", 0.001: "0.001000", 0.000123456: "0.0001235", 8.62e-6: "0.00000862", 1e-9: "0.000000001", 0.00099996: "0.001",
		-8.62e-6: "-0.00000862", math.Inf(1): "+Inf",
	} {
		if got := Text(dollars); got != want {
			t.Errorf("%v: %s, want %s", dollars, got, want)
		}
	}
}
