package datasets

import (
	"bufio"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"

	"github.com/ulikunitz/xz"
)

// shipped holds the data that comes with the package, still compressed (about 18 MB), so that the data sets open from
// any working directory. files/README.md names the source and licence of each.
//
//go:embed files
var shipped embed.FS

// source is one data file: shipped with the package, or looked for in the user's data folder.
type source struct {
	// names are what the file may be called: for a shipped file its one path below files/, otherwise base names in the
	// data folder, the first found being taken.
	names []string
	// public is the publisher's name of the file and url where it is to be had; both "" for shipped files.
	public, url string
}

// shippedSource is a file that comes with the package.
func shippedSource(path string) source { return source{names: []string{path}} }

// dataFile is an open data file, from the package or from the data folder.
type dataFile interface {
	io.ReadSeeker
	io.Closer
}

// open opens the file at its start, after checking its hash where one is known. It also returns the file's base name
// and its sha256.
func (s source) open(opts Options) (f dataFile, base, sum string, err error) {
	f, name, err := s.openUnchecked(opts)
	if err != nil {
		return nil, "", "", fmt.Errorf("open data file: %w", err)
	}
	if sum, err = hashOf(f); err != nil {
		f.Close()
		return nil, "", "", fmt.Errorf("read data file %s: %w", name, err)
	}
	base = path.Base(filepath.ToSlash(name))
	if want := sums()[base]; want != "" && sum != want {
		f.Close()
		return nil, "", "", fmt.Errorf("%s: sha256 is %s, want %s: the file was changed or cut off; get it again", name, sum, want)
	}
	return f, base, sum, nil
}

// hashOf returns the sha256 of a file that stands at its start, and puts it back there.
func hashOf(f io.ReadSeeker) (string, error) {
	hash := sha256.New()
	if _, err := io.Copy(hash, f); err != nil {
		return "", err
	}
	_, err := f.Seek(0, io.SeekStart)
	return hex.EncodeToString(hash.Sum(nil)), err
}

func (s source) openUnchecked(opts Options) (f dataFile, name string, err error) {
	if s.url == "" {
		file, err := shipped.Open("files/" + s.names[0])
		if err != nil {
			return nil, "", err
		}
		return file.(dataFile), s.names[0], nil // embed promises that its files can seek
	}
	if name, err = s.find(opts); err != nil {
		return nil, "", err
	}
	file, err := os.Open(name)
	return file, name, err
}

// find returns where in the data folder the file lies, or an error that says what to do about its absence.
func (s source) find(opts Options) (string, error) {
	dir := opts.dataDir()
	if dir == "" {
		return "", fmt.Errorf("%s is not shipped: download it from %s into a folder and name that folder by --data or %s: %w",
			s.public, s.url, DataEnv, ErrMissingData)
	}
	for _, base := range s.names {
		name := filepath.Join(dir, base)
		if _, err := os.Stat(name); err == nil {
			return name, nil
		} else if !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
	}
	return "", fmt.Errorf("%s is not in %s: download it from %s and put it there: %w", s.public, dir, s.url, ErrMissingData)
}

// identity is the sha256 that stands for the source in a data set's hash. A file that is absent but has a known hash
// counts as if it were there, so that the hash does not change when it arrives.
func (s source) identity(opts Options) (string, error) {
	f, _, sum, err := s.open(opts)
	if errors.Is(err, ErrMissingData) {
		return cmp.Or(sums()[path.Base(s.names[0])], "absent"), nil
	} else if err != nil {
		return "", err
	}
	return sum, f.Close()
}

// sums reads the known hashes, of shipped files and of others, from files/SHA256SUMS (the format of sha256sum), by base name.
var sums = sync.OnceValue(func() map[string]string {
	text, err := shipped.ReadFile("files/SHA256SUMS")
	if err != nil {
		panic("datasets: files/SHA256SUMS is not embedded: " + err.Error())
	}
	known := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if sum, name, ok := strings.Cut(strings.TrimSpace(line), "  "); ok {
			known[path.Base(name)] = sum
		}
	}
	return known
})

// record is what a pointer to a decoded entry of a data file must be able to do.
type record[T any] interface {
	*T
	// check says which field is missing or wrong: the first problem found.
	check() error
}

// load is the one path by which data comes in: find the file, check its hash, decompress, decode, validate, and hand on
// each record.
func load[T any, R record[T]](ctx context.Context, s source, opts Options, each func(R) error) error {
	f, base, _, err := s.open(opts)
	if err != nil {
		return err
	}
	defer f.Close()
	return decode(ctx, base, f, each)
}

// decode reads records from a JSON array or from JSON lines, compressed as the name's ending says (.gz, .xz). Errors
// name the file, the record (counted from 1) and the field.
func decode[T any, R record[T]](ctx context.Context, name string, r io.Reader, each func(R) error) error {
	plain, err := decompress(name, r)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	bounded := &recordReader{r: plain, left: maxRecord}
	in := bufio.NewReaderSize(bounded, 1<<16)
	array, err := startsArray(in)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	dec := json.NewDecoder(in)
	if array {
		if _, err := dec.Token(); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	for n := 1; ; n++ {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("%s: reading stopped: %w", name, err)
		}
		if array && !dec.More() {
			break
		}
		bounded.left = maxRecord
		rec := R(new(T)) // not decoded as a pointer, which null would leave nil
		if err := dec.Decode(rec); err == io.EOF && !array {
			return nil
		} else if err != nil {
			return fmt.Errorf("%s: record %d: %w", name, n, unexpected(err))
		}
		if err := rec.check(); err != nil {
			return fmt.Errorf("%s: record %d: %w", name, n, err)
		}
		if err := each(rec); err != nil {
			return fmt.Errorf("%s: record %d: %w", name, n, err)
		}
	}
	if _, err := dec.Token(); err != nil {
		return fmt.Errorf("%s: end of the list: %w", name, unexpected(err))
	}
	var syntax *json.SyntaxError
	switch _, err := dec.Token(); {
	case err == io.EOF:
		return nil
	case err == nil || errors.As(err, &syntax):
		return fmt.Errorf("%s: something follows the list of records", name)
	default: // cut off or damaged in its compressed form
		return fmt.Errorf("%s: end of the file: %w", name, err)
	}
}

// maxRecord is the most bytes of a record, and of blanks between records: a small compressed file can unpack to anything.
const maxRecord = 32 << 20

// recordReader bounds what is read for one record.
type recordReader struct {
	r    io.Reader
	left int
}

func (b *recordReader) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, fmt.Errorf("more than %d MiB, which no record has", maxRecord>>20)
	}
	n, err := b.r.Read(p[:min(len(p), 1<<16)]) // what is read for the next record too is little
	b.left -= n
	return n, err
}

func decompress(name string, r io.Reader) (io.Reader, error) {
	switch filepath.Ext(name) {
	case ".gz":
		return gzip.NewReader(r)
	case ".xz":
		return xz.NewReader(r)
	default:
		return r, nil
	}
}

// startsArray looks past white space for the first byte: '[' means one JSON array, '{' means JSON lines.
func startsArray(in *bufio.Reader) (bool, error) {
	for {
		b, err := in.ReadByte()
		if err != nil {
			return false, unexpected(err)
		}
		switch b {
		case ' ', '\t', '\r', '\n':
			continue
		case '[', '{':
			return b == '[', in.UnreadByte()
		default:
			return false, fmt.Errorf("starts with %q; want a JSON list or JSON lines of records", b)
		}
	}
}

// unexpected names the end of a file for what it is where more was due, and states the field of a wrongly typed value.
func unexpected(err error) error {
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.Is(err, io.EOF):
		return io.ErrUnexpectedEOF
	case errors.As(err, &wrong):
		return fmt.Errorf("field %q is a %s, want %s", wrong.Field, wrong.Value, wrong.Type)
	}
	return err
}

// missing is the error for a required field that is absent or empty.
func missing(field string) error { return fmt.Errorf("field %q is missing or empty", field) }
