package datasets

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/budgetmem/budgetmem/internal/suggest"
)

// DataEnv names the environment variable that points to the folder of data files too large to ship.
const DataEnv = "BUDGETMEM_DATA"

// Errors that callers may want to tell apart.
var (
	// ErrUnknown is wrapped when no data set, question or history has the name asked for.
	ErrUnknown = errors.New("unknown name")
	// ErrMissingData is wrapped when a data file is not shipped and not in the data folder. The message says which file,
	// where to get it and where to put it.
	ErrMissingData = errors.New("data file not found")
)

// Options says where to look for data. The zero value uses the shipped files and the folder named by BUDGETMEM_DATA.
type Options struct {
	// DataDir holds the larger data files; "" means the folder that the environment variable BUDGETMEM_DATA names, if any.
	DataDir string
}

func (o Options) dataDir() string { return cmp.Or(o.DataDir, os.Getenv(DataEnv)) }

// test is the split that only the Test method hands out.
const test Split = "test"

var splits = []Split{Train, Validation, test}

// spec is all that differs between the data sets.
type spec struct {
	name, summary, licence string
	chunkTokens            int
	metric                 string
	// index is the committed list of each split's question ids, below files/; "" if there is none. Then inSplit decides.
	index   string
	inSplit func(split Split, id string) bool
	// sources lists the files that hold a split.
	sources func(split Split) []source
	// read hands every question in a split's files for which want is true, with its history, to add.
	read func(ctx context.Context, opts Options, files []source, want func(id string) bool, add addFunc) error
}

type addFunc func(Question, History)

var specs = []spec{locomoSpec, locomoUnanswerableSpec, longMemEvalSpec, oracleSpec, hotpotSpec, hotpot200Spec, hotpotFullSpec}

// Names lists the data sets that Open knows.
func Names() []string {
	names := make([]string, len(specs))
	for i, s := range specs {
		names[i] = s.name
	}
	return names
}

// Open opens a data set by name, or one of your own by the path of its folder or of its YAML file (see ConfigFile). It checks the hashes of the shipped files; a split whose file is absent opens all the
// same and reports that, with ErrMissingData, when it is asked for. A name that Names does not list is refused with
// ErrUnknown and the nearest right one.
func Open(name string, opts Options) (Dataset, error) {
	d, err := openDataset(name, opts)
	if err != nil {
		return nil, err // not d, which would be an interface around a nil pointer
	}
	return d, nil
}

func openDataset(name string, opts Options) (*dataset, error) {
	if isPath(name) {
		d, err := openOwn(name)
		if err != nil {
			return nil, fmt.Errorf("open data set %s: %w", name, err)
		}
		return d, nil
	}
	at := slices.IndexFunc(specs, func(s spec) bool { return s.name == name })
	if at < 0 {
		return nil, fmt.Errorf("data set %q: %w; did you mean %q? One of your own is given by its folder, as ./%s", name, ErrUnknown, suggest.Name(name, Names()), name)
	}
	d := &dataset{spec: specs[at], opts: opts, loaded: map[Split]*part{}, splitOf: map[string]Split{}}
	if err := d.open(); err != nil {
		return nil, fmt.Errorf("open data set %s: %w", name, err)
	}
	return d, nil
}

// dataset is the one implementation of Dataset. Splits are read when first asked for and then kept.
type dataset struct {
	spec
	opts  Options
	hash  string
	order map[Split][]string // question ids by the index; nil without one
	// remedy is what to do about an empty split of a data set of one's own; "" for a benchmark.
	remedy string
	// splitOf tells in which split a history is asked about.
	splitOf map[string]Split

	mu     sync.Mutex
	loaded map[Split]*part
}

// part is a split in memory.
type part struct {
	questions []Question
	histories map[string]History
}

// open reads the split index and settles the data set's hash.
func (d *dataset) open() error {
	all := sha256.New()
	fmt.Fprintln(all, d.name)
	if d.index != "" {
		sum, err := d.readIndex()
		if err != nil {
			return err
		}
		fmt.Fprintln(all, "index", sum)
	}
	for _, split := range splits {
		for _, s := range d.sources(split) {
			sum, err := s.identity(d.opts)
			if err != nil {
				return err
			}
			fmt.Fprintln(all, split, sum)
		}
	}
	d.hash = hex.EncodeToString(all.Sum(nil))
	return nil
}

func (d *dataset) readIndex() (sum string, err error) {
	f, base, sum, err := shippedSource(d.index).open(d.opts)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if err := json.NewDecoder(f).Decode(&d.order); err != nil {
		return "", fmt.Errorf("split index %s: %w", base, err)
	}
	for split, ids := range d.order {
		for _, id := range ids {
			d.splitOf[historyOf(id)] = split
		}
	}
	return sum, nil
}

// historyOf is the history that a question is about: the part of its id before the slash, or all of it.
func historyOf(question string) string {
	history, _, _ := strings.Cut(question, "/")
	return history
}

func (d *dataset) Name() string     { return d.name }
func (d *dataset) Hash() string     { return d.hash }
func (d *dataset) ChunkTokens() int { return d.chunkTokens }
func (d *dataset) Metric() string   { return d.metric }

func (d *dataset) Test(ctx context.Context) ([]Question, error) { return d.questions(ctx, test) }

func (d *dataset) Questions(ctx context.Context, split Split) ([]Question, error) {
	if split != Train && split != Validation {
		return nil, fmt.Errorf("%s: split %q: want %q or %q; the test questions have a method of their own",
			d.name, split, Train, Validation)
	}
	return d.questions(ctx, split)
}

func (d *dataset) questions(ctx context.Context, split Split) ([]Question, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p, err := d.part(ctx, split)
	if err != nil {
		return nil, err
	}
	if len(p.questions) == 0 {
		return nil, errors.New(d.empty(split))
	}
	return slices.Clone(p.questions), nil
}

// empty says that a split has no question, and what to do. The caller holds mu.
func (d *dataset) empty(split Split) string {
	if d.remedy == "" {
		return fmt.Sprintf("%s: no question is in its %s split", d.name, split)
	}
	var counts []string
	for _, s := range splits {
		counts = append(counts, fmt.Sprintf("%s %d", s, len(d.order[s])))
	}
	return fmt.Sprintf("%s: no question is in its %s split (%s)%s", d.name, split, strings.Join(counts, ", "), d.remedy)
}

func (d *dataset) History(ctx context.Context, id string) (History, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if split, ok := d.splitOf[id]; ok {
		p, err := d.part(ctx, split)
		if err != nil {
			return History{}, err
		}
		if h, ok := p.histories[id]; ok {
			return h, nil
		}
	}
	return History{}, fmt.Errorf("%s: history %q: %w; take the ids from the questions", d.name, id, ErrUnknown)
}

// part returns a split, reading it at the first call. The caller holds mu.
func (d *dataset) part(ctx context.Context, split Split) (*part, error) {
	if p := d.loaded[split]; p != nil {
		return p, nil
	}
	p, err := d.readPart(ctx, split)
	if err != nil {
		return nil, err
	}
	for id := range p.histories {
		d.splitOf[id] = split
	}
	d.loaded[split] = p
	return p, nil
}

// readPart reads a split from its files.
func (d *dataset) readPart(ctx context.Context, split Split) (*part, error) {
	p := &part{histories: map[string]History{}}
	place := map[string]int{}
	for i, id := range d.order[split] {
		place[id] = i
	}
	want := func(id string) bool {
		if d.index == "" {
			return d.inSplit(split, id)
		}
		_, ok := place[id]
		return ok
	}
	err := d.read(ctx, d.opts, d.sources(split), want, func(q Question, h History) {
		p.questions = append(p.questions, q)
		p.histories[h.ID] = h
	})
	if err == nil && d.index != "" {
		p.questions, err = arrange(p.questions, place)
	}
	if err != nil {
		return nil, fmt.Errorf("%s, %s split: %w", d.name, split, err)
	}
	return p, nil
}

// arrange puts questions in the order of the index and refuses data that lack one or hold one twice.
func arrange(questions []Question, place map[string]int) ([]Question, error) {
	ordered := make([]Question, len(place))
	for _, q := range questions {
		if ordered[place[q.ID]].ID != "" {
			return nil, fmt.Errorf("question %q occurs twice in the data", q.ID)
		}
		ordered[place[q.ID]] = q
	}
	for id, i := range place {
		if ordered[i].ID == "" {
			return nil, fmt.Errorf("question %q is in the split index but not in the data", id)
		}
	}
	return ordered, nil
}
