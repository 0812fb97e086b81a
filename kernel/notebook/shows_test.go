package notebook

import (
	"slices"
	"testing"
)

func TestMissing(t *testing.T) {
	shown := func(forms map[string]string) Cell {
		return Cell{Kind: Code, Outputs: []Output{{Object{"output_type": encode(DisplayData), "data": encode(forms), "metadata": encode(Object{})}}}}
	}
	nb := New(
		shown(map[string]string{"text/html": `<div data-show="chart:a"></div>`, "image/png": "iVBORw0KGgo="}),
		shown(map[string]string{"text/html": `<div class="x" data-show="chart:b"><img alt="b" src="data:image/png;base64,iVBORw0KGgo="></div>`}),
		shown(map[string]string{"text/html": `<div data-show="chart:c"></div>`}),
		shown(map[string]string{"text/html": `<table data-show="table:d"></table>`}),
		shown(map[string]string{"text/plain": `data-show="table:e"`}),
		Cell{Kind: Code, Source: `data-show="table:f"`},
		shown(map[string]string{"text/html": `<table data-show="table:&lt;g&gt;"></table>`}),
	)
	nb.Metadata["budgetmem"] = encode(map[string][]string{"shows": {"chart:a", "chart:b", "chart:c", "table:d", "table:e", "table:f", "table:<g>"}})
	if got, want := nb.Missing(), []string{"the PNG of chart:c", "table:e", "table:f"}; !slices.Equal(got, want) {
		t.Errorf("missing %q, want %q", got, want)
	}
	if got := New().Missing(); len(got) > 0 {
		t.Errorf("nothing is declared, missing %q", got)
	}
}
