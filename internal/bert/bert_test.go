package bert

import (
	"strings"
	"testing"
)

func TestParseConfig(t *testing.T) {
	const good = `{"model_type":"bert","hidden_act":"gelu","hidden_size":8,"intermediate_size":16,"num_attention_heads":2,
		"num_hidden_layers":1,"max_position_embeddings":512,"type_vocab_size":2,"vocab_size":30,"layer_norm_eps":1e-12}`
	if _, err := ParseConfig([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ old, new, want string }{
		"no JSON":     {"}", "", "unexpected end"},
		"other model": {`"bert"`, `"t5"`, "only \"bert\""},
		"heads":       {`heads":2`, `heads":3`, "does not divide"},
		"no heads":    {`heads":2`, `heads":0`, "does not divide"},
		"positions":   {"512", "128", "at least 256"},
		"no layers":   {`layers":1`, `layers":0`, "must be positive"},
	} {
		if _, err := ParseConfig([]byte(strings.Replace(good, c.old, c.new, 1))); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want a mention of %q", name, err, c.want)
		}
	}
}

func TestWeightsNamesWhatIsMissing(t *testing.T) {
	c := Config{Hidden: 2, FFN: 2, Heads: 1, Layers: 1, Positions: 256, Types: 1, Vocab: 3}
	if _, err := c.Weights(nil); err == nil || !strings.Contains(err.Error(), `"embeddings.position_embeddings.weight"`) {
		t.Errorf("no tensors: %v", err)
	}
	wrong := map[string]Tensor{"embeddings.position_embeddings.weight": {Dims: []int{2, 256}, Data: make([]float32, 512)}}
	if _, err := c.Weights(wrong); err == nil || !strings.Contains(err.Error(), "has shape [2 256] instead of [256 2]") {
		t.Errorf("wrong shape: %v", err)
	}
}
