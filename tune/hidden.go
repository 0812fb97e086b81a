package tune

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"os"
	"path/filepath"

	"github.com/gomlx/gomlx/core/tensors"

	"github.com/budgetmem/budgetmem/internal/private"
	"github.com/budgetmem/budgetmem/tiers/llm/local"
)

// hidden is what the frozen layers give for each sequence, [tokens, Dim] float32 one behind the other in a file. It is computed
// once, pack by pack, and after an interruption from the last whole pack.
type hidden struct {
	base   *local.Base
	seqs   []sequence
	starts []int64 // of each sequence in the file, in tokens, and the end
	file   *os.File
	row    int // bytes of a token's vector
}

// openHidden opens or makes the file. Its name holds the hash of all that decides its content: what was computed for other
// examples is not taken for these.
func openHidden(dir, name string, base *local.Base, layers int, p *packer) (*hidden, error) {
	h := &hidden{base: base, seqs: p.seqs, starts: make([]int64, len(p.seqs)+1), row: 4 * base.Config.Dim}
	sum := sha256.New()
	fmt.Fprintln(sum, base.SHA256, layers, p.tokens)
	for i, s := range p.seqs {
		h.starts[i+1] = h.starts[i] + int64(len(s.tokens))
		fmt.Fprintln(sum, s.tokens)
	}
	if err := private.Dir(dir); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, fmt.Sprintf("%s-%s.f32", name, hex.EncodeToString(sum.Sum(nil))[:16]))
	var err error
	h.file, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, private.FileMode)
	return h, err
}

func (h *hidden) close() error { return h.file.Close() }

// fill computes what is not in the file yet.
func (h *hidden) fill(ctx context.Context, m *programs, p *packer, progress func(done, total int)) error {
	info, err := h.file.Stat()
	if err != nil {
		return err
	}
	have := info.Size() / int64(h.row) // whole tokens
	total := int(h.starts[len(h.seqs)])
	for _, k := range p.inOrder() {
		first, last := k.members[0], k.members[len(k.members)-1]
		if h.starts[last+1] <= have {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := h.compute(m, p, k, first, last); err != nil {
			return err
		}
		if progress != nil {
			progress(int(h.starts[last+1]), total)
		}
	}
	return nil
}

// compute writes the states of the sequences first to last, which make a pack.
func (h *hidden) compute(m *programs, p *packer, k pack, first, last int) error {
	x, err := m.vectors(p, k)
	if err != nil {
		return err
	}
	l := p.layout(k, 1)
	out, err := m.frozen.Call(append([]any{x, l.position, tensors.FromFlatDataAndDimensions(l.mask, k.size, k.size)}, m.frozenWeights...)...)
	x.FinalizeAll()
	if err != nil {
		return fmt.Errorf("running the frozen layers: %w", err)
	}
	defer out[0].FinalizeAll()
	bytes := make([]byte, 0, int(h.starts[last+1]-h.starts[first])*h.row)
	if err := tensors.ConstFlatData(out[0], func(flat []float32) {
		for _, v := range flat[:cap(bytes)/4] {
			bytes = binary.LittleEndian.AppendUint32(bytes, math.Float32bits(v))
		}
	}); err != nil {
		return err
	}
	if _, err := h.file.WriteAt(bytes, h.starts[first]*int64(h.row)); err != nil {
		return fmt.Errorf("keeping hidden states: %w", err)
	}
	return h.file.Sync()
}

// read returns the states of a pack's sequences, [size, Dim] with zeros behind them.
func (h *hidden) read(k pack) (*tensors.Tensor, error) {
	dim := h.row / 4
	x := make([]float32, k.size*dim)
	at := 0
	for _, i := range k.members {
		n := len(h.seqs[i].tokens)
		bytes := make([]byte, n*h.row)
		if got, err := h.file.ReadAt(bytes, h.starts[i]*int64(h.row)); got < len(bytes) {
			return nil, fmt.Errorf("reading hidden states: %w", err)
		}
		for j := range n * dim {
			x[at+j] = math.Float32frombits(binary.LittleEndian.Uint32(bytes[4*j:]))
		}
		at += n * dim
	}
	return tensors.FromFlatDataAndDimensions(x, k.size, dim), nil
}
