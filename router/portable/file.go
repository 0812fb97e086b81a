package portable

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"

	"github.com/budgetmem/budgetmem/internal/safetensors"
)

// The keys of the metadata of a router's file, which is in the safetensors format.
const (
	keyFormat  = "format"
	keyVersion = "version"
	keyRouter  = "router"
	keyHash    = "sha256"

	format = "budgetmem-router"
	// Version is the newest file version that this package reads. Routers that look at signals are written as version 2, others as
	// version 1.
	Version = 2
)

// ErrVersion marks a file of a newer version than this package reads.
var ErrVersion = errors.New("the file is of a newer version")

// ErrFile marks a file that is of another kind, cut, or damaged.
var ErrFile = errors.New("not a usable router file")

// maxFile bounds the size of a file in bytes.
const maxFile = 1 << 30

// ReadFile reads a router's file. Errors wrap ErrFile, ErrVersion, or the error of the file system, such as fs.ErrNotExist.
func ReadFile(path string) (*Router, error) {
	info, err := os.Stat(path)
	if err == nil && (info.Mode()&fs.ModeType != 0 || info.Size() > maxFile) {
		err = fmt.Errorf("%w: not a plain file, or larger than %d bytes", ErrFile, maxFile)
	}
	var file []byte
	if err == nil {
		file, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, fmt.Errorf("read router %s: %w", path, err)
	}
	r, err := Parse(file)
	if err != nil {
		return nil, fmt.Errorf("read router %s: %w", path, err)
	}
	return r, nil
}

// Parse reads the bytes of a router's file, such as an embedded one. Errors wrap ErrFile or ErrVersion.
func Parse(file []byte) (*Router, error) {
	r, err := parse(file)
	if err != nil && !errors.Is(err, ErrVersion) {
		return nil, fmt.Errorf("%w: %w", ErrFile, err)
	}
	return r, err
}

func parse(file []byte) (*Router, error) {
	f, err := safetensors.Parse(file)
	if err != nil {
		return nil, err
	}
	if got := f.Metadata[keyFormat]; got != format {
		return nil, fmt.Errorf("metadata %q is %q instead of %q", keyFormat, got, format)
	}
	version, err := strconv.Atoi(f.Metadata[keyVersion])
	if err != nil || version < 1 {
		return nil, fmt.Errorf("metadata %q is %q, not a version", keyVersion, f.Metadata[keyVersion])
	}
	if version > Version {
		return nil, fmt.Errorf("%w: it has %d, this program reads up to %d; use a newer program", ErrVersion, version, Version)
	}
	var info Info
	if err := json.Unmarshal([]byte(f.Metadata[keyRouter]), &info); err != nil {
		return nil, fmt.Errorf("metadata %q: %w", keyRouter, err)
	}
	if err := info.check(); err != nil {
		return nil, fmt.Errorf("metadata %q: %w", keyRouter, err)
	}
	var w Weights
	wanted := w.tensors(info, size(f, "lambda"), size(f, "actor.bias"), info.tiers())
	for _, t := range wanted {
		got, ok := f.Tensors[t.name]
		if !ok {
			return nil, fmt.Errorf("tensor %q is missing", t.name)
		}
		if fmt.Sprint(got.Shape) != fmt.Sprint(t.shape) {
			return nil, fmt.Errorf("tensor %q has shape %v instead of %v", t.name, got.Shape, t.shape)
		}
		if *t.values, err = got.Float32(); err != nil {
			return nil, fmt.Errorf("tensor %q: %w", t.name, err)
		}
	}
	if len(f.Tensors) != len(wanted) {
		return nil, fmt.Errorf("it has %d tensors instead of %d", len(f.Tensors), len(wanted))
	}
	if got, want := hash(f, wanted), f.Metadata[keyHash]; got != want {
		return nil, fmt.Errorf("the content's SHA-256 is %s instead of %q: the file is damaged or was edited", got, want)
	}
	return New(info, w)
}

// size is the length of a vector in a file, 0 if there is no such vector.
func size(f safetensors.File, name string) int {
	if t := f.Tensors[name]; len(t.Shape) == 1 {
		return t.Shape[0]
	}
	return 0
}

// hash is the SHA-256 of the description and of the bytes of the tensors.
func hash(f safetensors.File, tensors []named) string {
	h := sha256.New()
	h.Write([]byte(f.Metadata[keyRouter]))
	for _, t := range tensors {
		h.Write(f.Tensors[t.name].Bytes)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// version is the first file version that can hold the router.
func (r *Router) version() int {
	if len(r.info.Signals) > 0 {
		return 2
	}
	return 1
}

// Marshal returns the bytes of the router's file. Equal routers give equal bytes. It fails only for numbers in the router's
// Info that JSON cannot hold.
func (r *Router) Marshal() ([]byte, error) {
	info, err := json.Marshal(r.info)
	if err != nil {
		return nil, fmt.Errorf("describe the router: %w", err)
	}
	f := safetensors.File{
		Metadata: map[string]string{keyFormat: format, keyVersion: strconv.Itoa(r.version()), keyRouter: string(info)},
		Tensors:  map[string]safetensors.Tensor{},
	}
	tensors := r.w.tensors(r.info, len(r.w.Lambda), len(r.w.ActorBias), r.info.tiers())
	for _, t := range tensors {
		f.Tensors[t.name] = safetensors.FromFloat32(*t.values, t.shape...)
	}
	f.Metadata[keyHash] = hash(f, tensors)
	return f.Marshal()
}
