package local

import (
	"fmt"
	"slices"

	"github.com/gomlx/go-huggingface/models/gguf"
)

// embedding gives the vectors of tokens. They stay in the model's file, quantised: a step looks up a few hundred of them,
// and all of them as float32 would be a fifth of the memory of a model of half a billion parameters. The file must not be
// written to while the model is open; it may be renamed or removed. It belongs to one goroutine, the scheduler's.
type embedding struct {
	reader     *gguf.Reader
	info       *gguf.TensorInfo // the tensor as reader sees it: made to be the row to read
	start      uint64           // offset of the first row in the file's data
	rowBytes   uint64
	vocab, dim int
}

const embeddingName = "token_embd.weight"

// openEmbedding takes over f: nothing else may read the embedding through it afterwards.
func openEmbedding(f *gguf.File, c *Config) (*embedding, error) {
	i := slices.IndexFunc(f.TensorInfos, func(t gguf.TensorInfo) bool { return t.Name == embeddingName })
	if i < 0 {
		return nil, fmt.Errorf("tensor %s is missing", embeddingName)
	}
	info := &f.TensorInfos[i]
	if c.Dim%info.Type.BlockSize() != 0 {
		return nil, fmt.Errorf("tensor %s: rows of %d values cannot be of type %s", embeddingName, c.Dim, info.Type)
	}
	e := &embedding{info: info, start: info.Offset, rowBytes: uint64(info.NumBytes()) / uint64(c.Vocab), vocab: c.Vocab, dim: c.Dim}
	info.Shape = []uint64{uint64(c.Dim)}
	var err error
	if e.reader, err = gguf.NewReader(f); err != nil {
		return nil, err
	}
	if _, err = e.row(int32(c.Vocab - 1)); err != nil { // a file that was cut
		e.reader.Close()
		return nil, err
	}
	return e, nil
}

// row returns the vector of a token, [Dim].
func (e *embedding) row(token int32) ([]float32, error) {
	if token < 0 || int(token) >= e.vocab {
		return nil, fmt.Errorf("token %d is not in the vocabulary of %d", token, e.vocab)
	}
	e.info.Offset = e.start + uint64(token)*e.rowBytes
	t, err := e.reader.ReadTensor(nil, embeddingName)
	if err != nil {
		return nil, fmt.Errorf("reading the vector of token %d: %w", token, err)
	}
	return floats(t)
}

// fill writes the vectors of tokens to x [len(tokens), Dim].
func (e *embedding) fill(x []float32, tokens []int32) error {
	at := make(map[int32][]float32, len(tokens)) // padding repeats one token, texts repeat many
	for i, token := range tokens {
		dst := x[i*e.dim:][:e.dim]
		if row, ok := at[token]; ok {
			copy(dst, row)
			continue
		}
		row, err := e.row(token)
		if err != nil {
			return err
		}
		copy(dst, row)
		at[token] = dst
	}
	return nil
}
