package episodes

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/budgetmem/budgetmem/internal/atomicfile"
	"github.com/budgetmem/budgetmem/internal/f32"
	"github.com/budgetmem/budgetmem/internal/filelock"
	"github.com/budgetmem/budgetmem/router"
)

// Limits of a file in bytes, unpacked: some 40 times the largest file that is sensible, and some 100 times the longest lines.
const (
	maxBytes  = 4 << 30
	maxHeader = 1 << 20
	maxLine   = 16 << 20
)

// ReadFile reads a trace file. Errors name the file and the line.
func ReadFile(path string) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read traces: %w", err)
	}
	defer f.Close()
	return Parse(path, f)
}

// ReadSplit reads a trace file that must hold traces of the given split, and some. One that was joined of test and other splits is of
// test too: its questions are reported on. A file that is not there is an fs.ErrNotExist; another split, no traces, and what Parse
// refuses are errors.
func ReadSplit(path, split string) (*File, error) {
	f, err := ReadFile(path)
	if err != nil {
		return nil, err
	}
	if reported := split == testSplit && slices.Contains(f.Splits(), split); f.Split != split && !reported {
		return nil, fmt.Errorf("%s holds traces of the %s split, not of %s", path, f.Split, split)
	}
	if err := f.Usable(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

// Parse reads a trace file's content; name is what errors call it.
func Parse(name string, r io.Reader) (*File, error) {
	unpacked, err := gzip.NewReader(r)
	if err != nil {
		return nil, fmt.Errorf("%s: not a trace file, which is gzip-compressed: %w", name, err)
	}
	p := parser{file: &File{}, seen: map[string]int{}}
	dec := bufio.NewReader(io.LimitReader(unpacked, maxBytes))
	for n := 1; ; n++ {
		limit := maxLine
		if n == 1 {
			limit = maxHeader
		}
		text, err := readLine(dec, limit)
		if errors.Is(err, errLongLine) {
			return nil, fmt.Errorf("%s:%d: %w of %d bytes: not a trace file", name, n, err, limit)
		}
		if err != nil && err != io.EOF {
			return nil, fmt.Errorf("%s:%d: %w: the file is damaged or was cut", name, n, err)
		}
		if len(text) == 0 {
			break
		}
		if err := p.line(n, text); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, n, err)
		}
	}
	if p.file.Format == "" {
		return nil, fmt.Errorf("%s: the file is empty", name)
	}
	return p.file, nil
}

var errLongLine = errors.New("the line is longer than the limit")

// readLine reads a line of at most limit bytes, with its end.
func readLine(r *bufio.Reader, limit int) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if len(line)+len(part) > limit {
			return nil, errLongLine
		}
		line = append(line, part...)
		if err != bufio.ErrBufferFull {
			return line, err
		}
	}
}

type parser struct {
	file    *File
	vectors []Vector
	seen    map[string]int // line of a question's combination
}

func (p *parser) line(n int, text []byte) error {
	if n == 1 {
		if err := json.Unmarshal(text, &p.file.Header); err != nil {
			return fmt.Errorf("not a trace file's header: %w", err)
		}
		return p.file.Header.check()
	}
	l := line{Episode: &router.Episode{}}
	if err := json.Unmarshal(text, &l); err != nil {
		return fmt.Errorf("not a vector or a trace: %w", err)
	}
	if l.Vector != nil {
		if len(*l.Vector) != p.file.Dim {
			return fmt.Errorf("field \"vector\" has %d numbers, dim is %d", len(*l.Vector), p.file.Dim)
		}
		p.vectors = append(p.vectors, *l.Vector)
		return nil
	}
	t := *l.Episode
	var err error
	if t.Choices, err = p.file.Space.Choices(l.Tiers); err != nil {
		return fmt.Errorf("field \"tiers\": %w", err)
	}
	if l.QueryN == nil {
		return errors.New("field \"query\" is missing")
	}
	if t.Query, err = p.vector(*l.QueryN); err != nil {
		return fmt.Errorf("field \"query\": %w", err)
	}
	for _, i := range l.MemoryN {
		var v Vector
		if i != -1 {
			if v, err = p.vector(i); err != nil {
				return fmt.Errorf("field \"memory\": %w", err)
			}
		}
		t.Memory = append(t.Memory, v)
	}
	if err := p.file.checkTrace(t); err != nil {
		return err
	}
	k := key(t)
	if before, twice := p.seen[k]; twice {
		return fmt.Errorf("question %s has the tiers %s for the second time, first in line %d", t.ID, strings.Join(l.Tiers, ","), before)
	}
	p.seen[k] = n
	p.file.Episodes = append(p.file.Episodes, t)
	return nil
}

func (p *parser) vector(i int) (Vector, error) {
	if i < 0 || i >= len(p.vectors) {
		return nil, fmt.Errorf("there is no vector %d before this line, there are %d", i, len(p.vectors))
	}
	return p.vectors[i], nil
}

// key identifies a question's combination.
func key(t router.Episode) string { return fmt.Sprint(t.ID, t.Choices) }

// Holds returns a function that tells whether the file, as it is now, has a trace of a question with these choices.
func (f *File) Holds() func(id string, choices []int) bool {
	keys := map[string]bool{}
	for _, t := range f.Episodes {
		keys[key(t)] = true
	}
	return func(id string, choices []int) bool { return keys[key(router.Episode{ID: id, Choices: choices})] }
}

// names turns indexes of tiers into names.
func (h Header) names(choices []int) []string {
	out := make([]string, len(choices))
	for m, i := range choices {
		out[m] = h.Space[m].Tiers[i]
	}
	return out
}

// WriteFile replaces the file at path, in whole or not at all. Equal content gives equal bytes. A header or an episode that
// Parse would refuse is an error.
func (f *File) WriteFile(path string) error {
	return atomicfile.Write(path, 0o644, f.Write)
}

// Extend merges f into the file at path, which need not be there, and returns what that then holds. Of several processes
// that do so at one time, none loses what another wrote. The error is that of ctx if it ends before it is this one's turn.
func (f *File) Extend(ctx context.Context, path string) (*File, error) {
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("extend %s: %w", path, err)
	}
	defer folder.Close()
	if err := filelock.Wait(ctx, folder); err != nil {
		return nil, fmt.Errorf("extend %s: %w", path, err)
	}
	there, err := ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	default:
		if f, err = Merge(there, f); err != nil {
			return nil, fmt.Errorf("extend %s: %w", path, err)
		}
	}
	return f, f.WriteFile(path)
}

// Write writes the file's content. A header or an episode that Parse would refuse is an error.
func (f *File) Write(w io.Writer) error {
	f.Format, f.Version = Format, f.version()
	if err := f.Header.check(); err != nil {
		return fmt.Errorf("write traces: %w", err)
	}
	packed, err := gzip.NewWriterLevel(w, gzip.BestCompression)
	if err != nil {
		return err
	}
	return errors.Join(f.writeLines(packed), packed.Close())
}

// version is the file's, or the first one that can hold its content.
func (f *File) version() int {
	if len(f.Signals) > 0 || slices.ContainsFunc(f.Episodes, router.Episode.Detailed) {
		return max(f.Version, 2)
	}
	return max(f.Version, 1)
}

// writeLines writes the file's lines, not compressed.
func (f *File) writeLines(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(f.Header); err != nil {
		return err
	}
	numbers := map[string]int{}
	number := func(v Vector) (int, error) {
		if len(v) == 0 {
			return -1, nil
		}
		content := string(f32.Bytes(v))
		n, ok := numbers[content]
		if !ok {
			n = len(numbers)
			numbers[content] = n
			return n, enc.Encode(line{Vector: &v})
		}
		return n, nil
	}
	for _, t := range f.Episodes {
		if err := f.checkTrace(t); err != nil {
			return fmt.Errorf("write the trace of question %s: %w", t.ID, err)
		}
		l := line{Episode: &t, Tiers: f.names(t.Choices)}
		q, err := number(t.Query)
		if err != nil {
			return err
		}
		l.QueryN = &q
		for _, v := range t.Memory {
			n, err := number(v)
			if err != nil {
				return err
			}
			l.MemoryN = append(l.MemoryN, n)
		}
		if err := enc.Encode(l); err != nil {
			return err
		}
	}
	return nil
}

// Merge puts the traces of several files together. They must be of the same questions, asked of the same system: the files'
// headers may differ in the version and the commit only. Of a question's combination that several have, the first counts. No files, and files
// of different systems, are errors that name the field.
func Merge(files ...*File) (*File, error) {
	if len(files) == 0 {
		return nil, errors.New("merge traces: name at least one file")
	}
	out := &File{Header: files[0].Header}
	seen := map[string]bool{}
	for i, f := range files {
		if diff := Difference(out.Header, f.Header); diff != "" {
			return nil, fmt.Errorf("merge traces: file %d is of something else than the first: %s", i+1, diff)
		}
		for _, t := range f.Episodes {
			if !seen[key(t)] {
				seen[key(t)] = true
				out.Episodes = append(out.Episodes, t)
			}
		}
	}
	// A question's traces stand together, in the order in which the questions come up.
	order := map[string]int{}
	for i, id := range out.IDs() {
		order[id] = i
	}
	slices.SortStableFunc(out.Episodes, func(a, b router.Episode) int { return order[a.ID] - order[b.ID] })
	return out, nil
}

// Join is Merge for files whose splits may differ, as long as no question is in two of them: the file's split is then their names
// joined by "+", which nothing is trained or chosen on.
func Join(files ...*File) (*File, error) {
	var splits []string
	in := map[string]Header{}
	var same []*File
	for _, f := range files {
		for _, split := range f.Splits() {
			if !slices.Contains(splits, split) {
				splits = append(splits, split)
			}
		}
		for _, id := range f.IDs() {
			if other, ok := in[id]; ok && !f.Shares(other) {
				return nil, fmt.Errorf("join traces: question %s is in the splits %s and %s", id, other.Split, f.Split)
			}
			in[id] = f.Header
		}
		of := *f
		of.Split = files[0].Split
		same = append(same, &of)
	}
	out, err := Merge(same...)
	if err != nil {
		return nil, err
	}
	slices.Sort(splits)
	out.Split = strings.Join(splits, splitSeparator)
	return out, nil
}

const (
	splitSeparator = "+"
	testSplit      = "test"
)

// Splits are the splits that the questions are of: one, or those of the files that were joined.
func (h Header) Splits() []string { return strings.Split(h.Split, splitSeparator) }

// Shares reports whether the questions of two files can be of one split.
func (h Header) Shares(other Header) bool {
	return slices.ContainsFunc(h.Splits(), func(split string) bool { return slices.Contains(other.Splits(), split) })
}

// Difference says in which fields two headers differ, "" if in none but the version and the commit.
func Difference(a, b Header) string {
	a.Commit, b.Commit = "", ""
	a.Version, b.Version = 0, 0
	x, errA := systemOf(a)
	y, errB := systemOf(b)
	if err := errors.Join(errA, errB); err != nil {
		return err.Error()
	}
	var diffs []string
	differences("", x, y, &diffs)
	slices.Sort(diffs)
	return strings.Join(diffs, "; ")
}

func differences(prefix string, a, b map[string]any, out *[]string) {
	for name := range a {
		if _, ok := b[name]; !ok {
			*out = append(*out, fmt.Sprintf("%s%s is %v and not given", prefix, name, a[name]))
		}
	}
	for name, v := range b {
		was, ok := a[name]
		inner, isMap := v.(map[string]any)
		before, wasMap := was.(map[string]any)
		switch {
		case isMap && wasMap:
			differences(prefix+name+".", before, inner, out)
		case !ok:
			*out = append(*out, fmt.Sprintf("%s%s is not given and %v", prefix, name, v))
		case !reflect.DeepEqual(was, v):
			*out = append(*out, fmt.Sprintf("%s%s is %v and %v", prefix, name, was, v))
		}
	}
}
