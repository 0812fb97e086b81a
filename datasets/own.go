package datasets

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/budgetmem/budgetmem/bmem/conversation"
	"github.com/budgetmem/budgetmem/datasets/score"
	"github.com/budgetmem/budgetmem/internal/strictyaml"
)

// ConfigFile is the YAML file in the folder of a data set of one's own. It may be missing.
const ConfigFile = "dataset.yaml"

// The defaults of a data set of one's own.
const (
	ownMemories  = "memories"
	ownQuestions = "questions.jsonl"
	ownMetric    = "locomo-f1"
	ownChunk     = 256
	ownCategory  = "all"
)

// ownConfig is the YAML of a data set of one's own. Paths are relative to the file.
type ownConfig struct {
	Name        string `yaml:"name"`
	Memories    string `yaml:"memories"`  // a folder of conversations, or a file with one
	Questions   string `yaml:"questions"` // JSON lines or a list
	Metric      string `yaml:"metric"`
	ChunkTokens int    `yaml:"chunk_tokens"`
	Licence     string `yaml:"licence"`
	// Splits are the shares of train, validation and test, where the questions do not say.
	Splits map[Split]float64 `yaml:"splits"`
}

// isPath tells the path of a data set of one's own from a name.
func isPath(name string) bool {
	if strings.ContainsAny(name, `/\`) || strings.HasPrefix(name, ".") || strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml") {
		return true
	}
	info, err := os.Stat(name)
	return err == nil && info.IsDir() && !slices.Contains(Names(), name)
}

// openOwn reads a data set of one's own: a folder, or its YAML file.
func openOwn(path string) (*dataset, error) {
	o, err := readOwnConfig(path)
	if err != nil {
		return nil, err
	}
	histories, err := o.readMemories()
	if err != nil {
		return nil, err
	}
	questions, err := o.readQuestions(histories)
	if err != nil {
		return nil, err
	}
	d := &dataset{
		spec:   spec{name: o.Name, summary: "your own: " + path, licence: cmp.Or(o.Licence, "your own"), chunkTokens: o.ChunkTokens, metric: o.Metric},
		loaded: map[Split]*part{}, order: map[Split][]string{}, splitOf: map[string]Split{}, remedy: o.remedy(questions),
	}
	d.sources = func(Split) []source { return nil }
	for _, split := range splits {
		d.loaded[split] = &part{histories: histories}
	}
	for id := range histories {
		d.splitOf[id] = Train // any part has it
	}
	for _, q := range questions {
		d.loaded[q.split].questions = append(d.loaded[q.split].questions, q.Question)
		d.order[q.split] = append(d.order[q.split], q.ID)
	}
	d.hash, err = o.hash(histories, questions)
	return d, err
}

// ownSet is the folder of a data set of one's own, with what its YAML says.
type ownSet struct {
	ownConfig
	dir   string
	given bool // the questions say in which split they are
}

func readOwnConfig(path string) (ownSet, error) {
	o := ownSet{dir: path}
	info, err := os.Stat(path)
	if err != nil {
		return o, fmt.Errorf("%w; `bmem quickstart %s` makes a data set to start from", err, path)
	}
	file := path
	if info.IsDir() {
		file = filepath.Join(path, ConfigFile)
	} else {
		o.dir = filepath.Dir(path)
	}
	if err := regular(file); err != nil {
		return o, err
	}
	data, err := os.ReadFile(file)
	if err != nil && !(info.IsDir() && errors.Is(err, fs.ErrNotExist)) {
		return o, err
	}
	if len(bytes.TrimSpace(data)) > 0 {
		if err := strictyaml.Decode(data, &o.ownConfig); err != nil {
			return o, fmt.Errorf("%s: %w", file, err)
		}
	}
	abs, err := filepath.Abs(o.dir)
	if err != nil {
		return o, err
	}
	o.Name = cmp.Or(o.Name, filepath.Base(abs))
	o.Memories = filepath.Join(o.dir, cmp.Or(o.Memories, ownMemories))
	o.Questions = filepath.Join(o.dir, cmp.Or(o.Questions, ownQuestions))
	o.Metric = cmp.Or(o.Metric, ownMetric)
	o.ChunkTokens = cmp.Or(o.ChunkTokens, ownChunk)
	if err := o.check(); err != nil {
		return o, fmt.Errorf("%s: %w", file, err)
	}
	return o, nil
}

func (o *ownSet) check() error {
	if slices.Contains(Names(), o.Name) || !filepath.IsLocal(o.Name) || strings.ContainsAny(o.Name, `/\`) {
		return fmt.Errorf("field \"name\": %q is a benchmark's or no name of a file; give another, such as %q", o.Name, "my-questions")
	}
	if _, err := score.Lookup(o.Metric); err != nil {
		return fmt.Errorf("field \"metric\": %w", err)
	}
	if o.ChunkTokens < 16 || o.ChunkTokens > 256 {
		return fmt.Errorf("field \"chunk_tokens\" is %d; want 16 to 256, which is what the embedder reads", o.ChunkTokens)
	}
	if o.Splits == nil {
		o.Splits = map[Split]float64{Train: 0.6, Validation: 0.2, test: 0.2}
	}
	sum := 0.0
	for name, share := range o.Splits {
		if !slices.Contains(splits, name) || !(share >= 0) {
			return fmt.Errorf("field \"splits\": %s: %v; want shares of train, validation and test", name, share)
		}
		sum += share
	}
	if math.Abs(sum-1) > 1e-6 {
		return fmt.Errorf("field \"splits\": the shares add up to %v, want 1", sum)
	}
	return nil
}

// readMemories reads the conversations; each is named by its file, without the ending.
func (o *ownSet) readMemories() (map[string]History, error) {
	var files []string
	info, err := os.Stat(o.Memories)
	if err != nil {
		return nil, fmt.Errorf("the memories: %w; put each conversation there as a file", err)
	}
	if !info.IsDir() {
		files = []string{o.Memories}
	} else {
		entries, err := os.ReadDir(o.Memories)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if !e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
				files = append(files, filepath.Join(o.Memories, e.Name()))
			}
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s holds no conversation; put each there as a file", o.Memories)
	}
	histories := map[string]History{}
	for _, file := range files {
		id := strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))
		if _, ok := histories[id]; ok {
			return nil, fmt.Errorf("%s: another conversation there is called %q; rename one", file, id)
		}
		if err := regular(file); err != nil {
			return nil, err
		}
		talk, err := conversation.ReadFile(file)
		if err != nil {
			return nil, err
		}
		histories[id] = History{ID: id, Turns: talk.Turns}
	}
	return histories, nil
}

// regular refuses what would keep a reader waiting, such as a named pipe. What is not there is left to the reader.
func regular(file string) error {
	if info, err := os.Stat(file); err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		return fmt.Errorf("%s is no regular file: a data set is read more than once; write it into a file", file)
	}
	return nil
}

// ownRecord is a line of the questions.
type ownRecord struct {
	ID       string     `json:"id"`
	Memory   string     `json:"memory"`
	Question string     `json:"question"`
	Answer   score.Gold `json:"answer"`
	Answers  score.Gold `json:"answers"`
	Evidence []string   `json:"evidence"`
	Category string     `json:"category"`
	Date     string     `json:"date"`
	Split    Split      `json:"split"`
}

// UnmarshalJSON refuses a field that there is none of, as it is most often misspelt.
func (r *ownRecord) UnmarshalJSON(data []byte) error {
	type plain ownRecord
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	return dec.Decode((*plain)(r))
}

func (r *ownRecord) check() error {
	r.Answer = append(r.Answer, r.Answers...)
	switch {
	case strings.TrimSpace(r.Question) == "":
		return missing("question")
	case len(r.Answer) == 0 || slices.Contains(r.Answer, ""):
		return missing("answer")
	case r.Split != "" && !slices.Contains(splits, r.Split):
		return fmt.Errorf("field \"split\" is %q; want train, validation or test", r.Split)
	}
	return nil
}

// ownQuestion is a question with its split.
type ownQuestion struct {
	Question
	split Split
}

// readQuestions reads the questions and puts each into its split.
func (o *ownSet) readQuestions(histories map[string]History) ([]ownQuestion, error) {
	if err := regular(o.Questions); err != nil {
		return nil, fmt.Errorf("the questions: %w", err)
	}
	file, err := os.Open(o.Questions)
	if err != nil {
		return nil, fmt.Errorf("the questions: %w", err)
	}
	defer file.Close()
	turns := map[string]map[string]bool{} // ids, by memory
	for id, h := range histories {
		turns[id] = map[string]bool{}
		for _, t := range h.Turns {
			turns[id][t.ID] = true
		}
	}
	var out []ownQuestion
	seen, given := map[string]bool{}, 0
	err = decode(context.Background(), o.Questions, file, func(r *ownRecord) error {
		q := Question{ID: cmp.Or(r.ID, fmt.Sprintf("q%04d", len(out)+1)), History: r.Memory, Text: r.Question, Date: r.Date, Gold: r.Answer,
			Category: cmp.Or(r.Category, ownCategory)}
		if q.History == "" && len(histories) == 1 {
			for id := range histories {
				q.History = id
			}
		}
		h, ok := histories[q.History]
		switch {
		case !ok:
			return fmt.Errorf("field \"memory\" is %q, and no file in %s is called so", q.History, o.Memories)
		case seen[q.ID]:
			return fmt.Errorf("field \"id\": %q is the id of a question before it", q.ID)
		}
		seen[q.ID] = true
		for _, id := range r.Evidence {
			if !turns[q.History][id] {
				return fmt.Errorf("field \"evidence\": memory %q has no turn %q", q.History, id)
			}
		}
		q.Evidence, q.EvidenceSessions = r.Evidence, sessionsOf(r.Evidence, h)
		if r.Split != "" {
			given++
		}
		out = append(out, ownQuestion{q, r.Split})
		return nil
	})
	if err != nil {
		return nil, err
	}
	if given > 0 && given < len(out) {
		return nil, fmt.Errorf("%s: %d of %d questions have a field \"split\"; give it to all or to none", o.Questions, given, len(out))
	}
	if o.given = given > 0; !o.given {
		o.assign(out)
	}
	return out, nil
}

// remedy is what to do about a split without questions.
func (o *ownSet) remedy(questions []ownQuestion) string {
	if o.given {
		return fmt.Sprintf("; put one there by its field \"split\" in %s", o.Questions)
	}
	if len(questions) < len(splits) {
		return fmt.Sprintf("; add questions to %s", o.Questions)
	}
	return fmt.Sprintf(", as a hash of each question's memory and id put them; choose for yourself by a field \"split\" in every line of %s (train, validation or test), or add questions",
		o.Questions)
}

// assign puts questions into splits by a hash of their memories and ids, so that a question stays where it is when others are
// added, wherever in the file. It cannot also promise that each split gets one: three questions that the hash puts together have to stay
// together.
func (o *ownSet) assign(questions []ownQuestion) {
	for i, q := range questions {
		sum := sha256.Sum256([]byte(q.History + "\x00" + q.ID))
		at := float64(binary.BigEndian.Uint32(sum[:])) / (1 << 32)
		questions[i].split = test
		for _, split := range splits[:2] {
			if at -= o.Splits[split]; at < 0 {
				questions[i].split = split
				break
			}
		}
	}
}

// hash identifies what was read: turns, questions, splits and the settings that scores depend on.
func (o *ownSet) hash(histories map[string]History, questions []ownQuestion) (string, error) {
	all := sha256.New()
	fmt.Fprintln(all, o.Metric, o.ChunkTokens)
	enc := json.NewEncoder(all)
	for _, id := range slices.Sorted(maps.Keys(histories)) {
		if err := enc.Encode(histories[id]); err != nil {
			return "", err
		}
	}
	for _, q := range questions {
		fmt.Fprintln(all, q.split)
		if err := enc.Encode(q.Question); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(all.Sum(nil)), nil
}
