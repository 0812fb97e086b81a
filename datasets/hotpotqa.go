package datasets

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/internal/punkt"
)

// hotpotSpec is HotpotQA in the official distractor setting, ten paragraphs a question, on the part that is shipped:
// 200 questions of the official training set for training, dev questions 200–499 for validation, and dev questions 0–199
// for the test. The last are the questions that the paper's file is made from; the 128 it uses of them were filtered by a
// model's answers, which cannot be repeated, so all 200 count here.
var hotpotSpec = spec{
	name:        "hotpotqa",
	summary:     "HotpotQA, distractor setting: ten paragraphs a question, two of which hold the answer",
	licence:     "CC BY-SA 4.0",
	chunkTokens: 1024,
	metric:      "locomo-f1",
	index:       "hotpotqa/hotpotqa_splits.json",
	sources:     func(split Split) []source { return hotpotFiles(split)[:1] },
	read: func(ctx context.Context, opts Options, files []source, want func(string) bool, add addFunc) error {
		return readHotpot(ctx, opts, files[0], want, func(r *hotpotRecord) { add(r.question(), r.history(r.Context)) })
	},
}

// hotpot200Spec is MemAgent's setting: the same questions, each among 200 documents.
var hotpot200Spec = spec{
	name:        "hotpotqa-200",
	summary:     "HotpotQA with 200 documents a question (MemAgent's recipe): its own paragraphs among other questions'",
	licence:     "CC BY-SA 4.0",
	chunkTokens: 1024,
	metric:      "locomo-f1",
	index:       "hotpotqa/hotpotqa_splits.json",
	sources:     hotpotFiles,
	read:        readHotpot200,
}

// hotpotFullSpec is the official data in full, read from the data folder: the development set as the test, and of the
// training set every twentieth question, or nearly (by a hash of the id), for validation.
var hotpotFullSpec = spec{
	name:        "hotpotqa-full",
	summary:     "HotpotQA, distractor setting, all official training and development questions",
	licence:     "CC BY-SA 4.0",
	chunkTokens: 1024,
	metric:      "hotpot",
	sources: func(split Split) []source {
		if split == test {
			return []source{hotpotOfficial("hotpot_dev_distractor_v1.json")}
		}
		return []source{hotpotOfficial("hotpot_train_v1.1.json")}
	},
	inSplit: func(split Split, id string) bool {
		return split == test || (seedOf(id)%20 == 0) == (split == Validation)
	},
	read: hotpotSpec.read,
}

// hotpotFiles lists a split's questions and then the documents to pad with. Training questions are padded with each
// other's, so that no paragraph of a test question is seen in training unless both have it.
func hotpotFiles(split Split) []source {
	if split == Train {
		train := shippedSource("hotpotqa/hotpot_train_sample200.json.gz")
		return []source{train, train}
	}
	return []source{
		shippedSource("hotpotqa/hotpot_dev_distractor_first500_paragraphs.json.gz"),
		shippedSource("hotpotqa/hotpot_dev_first500_pooled_corpus.json.gz"),
	}
}

func hotpotOfficial(name string) source {
	return source{names: []string{name, name + ".gz", name + ".xz"}, public: name, url: "http://curtis.ml.cmu.edu/datasets/hotpot/" + name}
}

func readHotpot(ctx context.Context, opts Options, s source, want func(string) bool, each func(*hotpotRecord)) error {
	return load(ctx, s, opts, func(r *hotpotRecord) error {
		if want(r.ID) {
			each(r)
		}
		return nil
	})
}

// hotpotDocuments is how many documents a question has in MemAgent's setting.
const hotpotDocuments = 200

// readHotpot200 follows MemAgent's recipe: a question's own paragraphs, without repetition, are filled up to 200 with random
// others and shuffled. The draw depends on 42 and the question's id alone.
func readHotpot200(ctx context.Context, opts Options, files []source, want func(string) bool, add addFunc) error {
	pool := map[string]document{}
	err := load(ctx, files[1], opts, func(r *hotpotPoolRecord) error {
		for _, d := range r.documents() {
			pool[d.title] = d
		}
		return nil
	})
	if err != nil {
		return err
	}
	titles := make([]string, 0, len(pool))
	for t := range pool {
		titles = append(titles, t)
	}
	slices.Sort(titles)
	return readHotpot(ctx, opts, files[0], want, func(r *hotpotRecord) {
		own := map[string]bool{}
		docs := distinctTitles(r.Context)
		for _, d := range docs {
			own[d.title] = true
		}
		random := rand.New(rand.NewPCG(42, seedOf(r.ID)))
		for _, i := range random.Perm(len(titles)) {
			if len(docs) >= hotpotDocuments {
				break
			}
			if t := titles[i]; !own[t] {
				docs = append(docs, pool[t])
			}
		}
		random.Shuffle(len(docs), func(i, j int) { docs[i], docs[j] = docs[j], docs[i] })
		add(r.question(), r.history(docs))
	})
}

// seedOf makes a number of an id, evenly spread.
func seedOf(id string) uint64 {
	sum := sha256.Sum256([]byte(id))
	return binary.LittleEndian.Uint64(sum[:])
}

// document is a titled paragraph in sentences. In the data it is a pair of title and sentences, or of title and text,
// which is then split into sentences here.
type document struct {
	title     string
	sentences []string
}

func (d *document) UnmarshalJSON(data []byte) error {
	var pair []json.RawMessage
	if err := json.Unmarshal(data, &pair); err != nil || len(pair) != 2 {
		return fmt.Errorf("a paragraph is %.60s, want a pair of title and sentences", data)
	}
	if err := json.Unmarshal(pair[0], &d.title); err != nil {
		return fmt.Errorf("a paragraph's title is %.60s, want text", pair[0])
	}
	var text string
	if err := json.Unmarshal(pair[1], &text); err == nil {
		d.sentences = punkt.Sentences(text)
	} else if err := json.Unmarshal(pair[1], &d.sentences); err != nil {
		return fmt.Errorf("the paragraph %q holds %.60s, want text or a list of sentences", d.title, pair[1])
	}
	for i, s := range d.sentences {
		d.sentences[i] = strings.TrimSpace(s)
	}
	return nil
}

// turns renders a document as a session: the title, whose turn id is the title itself, then the sentences, TITLE#0 and on.
// Empty sentences are left out, without changing the numbers of the others.
func (d document) turns() []chunk.Turn {
	turns := []chunk.Turn{{ID: d.title, Session: d.title, Text: d.title}}
	for i, s := range d.sentences {
		if s != "" {
			turns = append(turns, chunk.Turn{ID: sentenceID(d.title, i), Session: d.title, Text: s})
		}
	}
	return turns
}

func sentenceID(title string, i int) string { return title + "#" + strconv.Itoa(i) }

// supportingFact names one or more sentences of a document: [title, number] or [title, [numbers], …].
type supportingFact struct {
	title     string
	sentences []int
}

func (f *supportingFact) UnmarshalJSON(data []byte) error {
	var entry []json.RawMessage
	if err := json.Unmarshal(data, &entry); err != nil || len(entry) < 2 {
		return fmt.Errorf("a supporting fact is %.60s, want a title and a sentence number", data)
	}
	numbers := entry[1]
	if !bytes.HasPrefix(bytes.TrimSpace(numbers), []byte("[")) {
		numbers = slices.Concat([]byte("["), numbers, []byte("]"))
	}
	if json.Unmarshal(entry[0], &f.title) != nil || json.Unmarshal(numbers, &f.sentences) != nil {
		return fmt.Errorf("a supporting fact is %.60s, want a title and a sentence number", data)
	}
	return nil
}

type hotpotRecord struct {
	ID       string           `json:"_id"`
	Question string           `json:"question"`
	Answer   string           `json:"answer"`
	Type     string           `json:"type"`
	Context  []document       `json:"context"`
	Facts    []supportingFact `json:"supporting_facts"`
	// GoldTitles stands in for the supporting facts in the shipped dev questions.
	GoldTitles []string `json:"gold_titles"`
}

func (r *hotpotRecord) check() error {
	switch {
	case r.ID == "":
		return missing("_id")
	case r.Question == "":
		return missing("question")
	case r.Answer == "":
		return missing("answer")
	case r.Type != "bridge" && r.Type != "comparison":
		return fmt.Errorf("field %q is %q, want bridge or comparison", "type", r.Type)
	case len(r.Context) == 0:
		return missing("context")
	}
	return checkTitles(r.Context)
}

func checkTitles(docs []document) error {
	for i, d := range docs {
		if d.title == "" {
			return missing(fmt.Sprintf("context[%d].title", i))
		}
	}
	return nil
}

// question gives as evidence the supporting sentences; where the data have only the titles of the supporting paragraphs,
// all the sentences of these.
func (r *hotpotRecord) question() Question {
	q := Question{ID: r.ID, History: r.ID, Text: r.Question, Gold: []string{r.Answer}, Category: r.Type}
	facts := r.Facts
	if len(facts) == 0 {
		for _, t := range r.GoldTitles {
			facts = append(facts, supportingFact{title: t})
		}
	}
	for _, f := range facts {
		at := slices.IndexFunc(r.Context, func(d document) bool { return d.title == f.title })
		if at < 0 {
			q.EvidenceDropped += max(1, len(f.sentences))
			continue
		}
		if !slices.Contains(q.EvidenceSessions, f.title) {
			q.EvidenceSessions = append(q.EvidenceSessions, f.title)
		}
		sentences := r.Context[at].sentences
		if f.sentences == nil {
			for i := range sentences {
				f.sentences = append(f.sentences, i)
			}
		}
		for _, i := range f.sentences {
			switch id := sentenceID(f.title, i); {
			case i < 0 || i >= len(sentences) || sentences[i] == "":
				q.EvidenceDropped++
			case !slices.Contains(q.Evidence, id):
				q.Evidence = append(q.Evidence, id)
			}
		}
	}
	return q
}

func (r *hotpotRecord) history(docs []document) History {
	h := History{ID: r.ID}
	for _, d := range distinctTitles(docs) {
		h.Turns = append(h.Turns, d.turns()...)
	}
	return h
}

// distinctTitles returns the first document of each title.
func distinctTitles(docs []document) []document {
	seen := map[string]bool{}
	return slices.DeleteFunc(slices.Clone(docs), func(d document) bool {
		repeated := seen[d.title]
		seen[d.title] = true
		return repeated
	})
}

// hotpotPoolRecord is what documents to pad with are taken from: a lone paragraph, or a question with its paragraphs.
type hotpotPoolRecord struct {
	Title   string     `json:"title"`
	Text    string     `json:"text"`
	Context []document `json:"context"`
}

func (r *hotpotPoolRecord) check() error {
	if len(r.Context) == 0 && r.Title == "" {
		return missing("title")
	}
	return checkTitles(r.Context)
}

func (r *hotpotPoolRecord) documents() []document {
	if len(r.Context) > 0 {
		return r.Context
	}
	return []document{{title: r.Title, sentences: punkt.Sentences(r.Text)}}
}
