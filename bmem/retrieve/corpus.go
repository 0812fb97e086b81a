package retrieve

import (
	"math"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/tiers/text"
)

// corpus is a memory prepared for ranking: all that can be known of its turns before there is a question. A part of a long turn counts as
// a turn. It grows at its end.
type corpus struct {
	turns   []turnFacts
	vectors [][]float32 // of the turns; empty where they are embedded for a question
	first   []int       // number of each chunk's first turn, and the number of turns at the end

	vocabulary *vocabulary
	inTurns    *invertedIndex
	inChunks   *invertedIndex
	inSessions *invertedIndex // names of sessions included: documents have titles

	sessions map[string]int
	last     []int // last turn of each session
	speaking map[string]int
	dated    map[string]int

	speakers []map[int32]bool // stems of each speaker's name; the first is nobody
	named    map[int32]bool   // all of them
	dates    []map[string]bool
}

// turnFacts is what is known of one turn.
type turnFacts struct {
	chunk, session int32
	prev, next     int32   // neighbours in the session, -1 at its ends
	pairNorm       float64 // length of the sum of this turn's vector and the previous one's, where both are embedded
	speaker        int32   // in corpus.speakers
	date           int32   // of the session, in corpus.dates
	size           float64 // ln(1 + words)

	time     bool // it names a time, such as "yesterday" or "2022"
	number   bool // it holds a number
	name     bool // a word inside a sentence begins with a capital
	question bool // it ends in a question mark
}

func newCorpus(l text.Language) *corpus {
	return &corpus{
		first: []int{0}, vocabulary: newVocabulary(l), inTurns: &invertedIndex{}, inChunks: &invertedIndex{}, inSessions: &invertedIndex{},
		sessions: map[string]int{}, speaking: map[string]int{"": 0}, dated: map[string]int{}, speakers: []map[int32]bool{{}}, named: map[int32]bool{},
	}
}

// readTurn is what a turn says by itself.
type readTurn struct {
	words          []string
	name, question bool
}

func readTurns(turns []chunk.Turn) []readTurn {
	out := make([]readTurn, len(turns))
	for i, t := range turns {
		out[i] = readTurn{text.Tokens(t.Text), holdsName(t.Text), endsInQuestion(t.Text)}
	}
	return out
}

// stemsOf are stems of a turn, of its chunk and of its session; -1 for those that they do not belong to.
type stemsOf struct {
	turn, chunk, session int
	stems                []int32
}

// grow adds turns, with their vectors (nil where they are not embedded) and what they say, to the last chunk, or to a new one. It
// returns the stems, which are to be indexed.
func (c *corpus) grow(fresh bool, session string, turns []chunk.Turn, vectors [][]float32, read []readTurn) []stemsOf {
	stems := make([]stemsOf, 0, len(turns)+2)
	if fresh {
		c.first = append(c.first, len(c.turns))
	}
	at := len(c.first) - 2
	if fresh {
		stems = append(stems, stemsOf{-1, at, -1, nil})
	}
	s, known := c.sessions[session]
	if !known {
		s = len(c.last)
		c.sessions[session] = s
		stems = append(stems, stemsOf{-1, -1, s, c.vocabulary.addAll(text.Tokens(session))})
		c.last = append(c.last, -1)
	}
	for i, t := range turns {
		f := turnFacts{
			chunk: int32(at), session: int32(s), prev: int32(c.last[s]), next: -1,
			name: read[i].name, question: read[i].question, size: math.Log1p(float64(len(read[i].words))),
		}
		f.speaker = int32(intern(c.speaking, t.Speaker, &c.speakers, func() map[int32]bool { return c.nameStems(t.Speaker) }))
		f.date = int32(intern(c.dated, t.Time, &c.dates, func() map[string]bool { return dateParts(t.Time) }))
		u := len(c.turns)
		if f.prev >= 0 {
			c.turns[f.prev].next = int32(u)
			if vectors != nil {
				f.pairNorm = pairNorm(c.vectors[f.prev], vectors[i])
			}
		}
		c.last[s] = u
		ids := make([]int32, 0, len(read[i].words))
		for _, w := range read[i].words {
			known := c.vocabulary.look(w)
			f.number, f.time = f.number || known.number(), f.time || known.time()
			if stem := known.stem(); stem != stopWord {
				ids = append(ids, stem)
			}
		}
		c.turns = append(c.turns, f)
		if vectors != nil {
			c.vectors = append(c.vectors, vectors[i])
		}
		stems = append(stems, stemsOf{u, at, s, ids})
	}
	c.first[len(c.first)-1] = len(c.turns)
	return stems
}

// pairNorm is the length of the sum of two unit vectors: |a + b|² = 2 + 2 a·b.
func pairNorm(a, b []float32) float64 { return math.Sqrt(max(1e-6, 2+2*dot(a, b))) }

// reserve makes room in an empty corpus.
func (c *corpus) reserve(chunks, turns int) {
	c.first = append(make([]int, 0, chunks+1), c.first...)
	c.turns, c.vectors = make([]turnFacts, 0, turns), make([][]float32, 0, turns)
}

// index makes the turns, chunks and sessions of stems be found by them.
func (c *corpus) index(list []stemsOf) {
	for _, s := range list {
		if s.turn >= 0 {
			c.inTurns.add(s.turn, s.stems)
		}
		if s.chunk >= 0 {
			c.inChunks.add(s.chunk, s.stems)
		}
		if s.session >= 0 {
			c.inSessions.add(s.session, s.stems)
		}
	}
}

// indexAll is index for the stems of all turns, chunks and sessions.
func (c *corpus) indexAll(list []stemsOf) {
	var indexes sync.WaitGroup
	build := func(x **invertedIndex, text func(stemsOf) int) {
		indexes.Go(func() {
			var parts []stemsOfText
			for _, s := range list {
				if t := text(s); t >= 0 {
					parts = append(parts, stemsOfText{t, s.stems})
				}
			}
			*x = newInvertedIndex(parts, int(c.vocabulary.stems))
		})
	}
	build(&c.inTurns, func(s stemsOf) int { return s.turn })
	build(&c.inChunks, func(s stemsOf) int { return s.chunk })
	build(&c.inSessions, func(s stemsOf) int { return s.session })
	indexes.Wait()
}

// intern returns the number of a key in list, which is made and appended when the key is new.
func intern[T any](numbers map[string]int, key string, list *[]T, value func() T) int {
	n, ok := numbers[key]
	if !ok {
		n = len(*list)
		numbers[key] = n
		*list = append(*list, value())
	}
	return n
}

func (c *corpus) nameStems(name string) map[int32]bool {
	set := map[int32]bool{}
	for _, s := range c.vocabulary.addAll(text.Tokens(name)) {
		set[s] = true
		c.named[s] = true
	}
	return set
}

func endsInQuestion(s string) bool {
	s = strings.TrimSpace(s)
	return strings.HasSuffix(s, "?") || strings.HasSuffix(s, "？")
}

// holdsName finds a capitalised word that does not begin a sentence: [\p{Ll},] +\p{Lu}\p{Ll} as a regular expression, which
// would take most of the time of opening a memory.
func holdsName(s string) bool {
	const (
		none = iota
		word
		space
		capital
	)
	state := none
	for _, r := range s {
		lower := r >= 'a' && r <= 'z'
		if r >= utf8.RuneSelf {
			lower = unicode.Is(unicode.Ll, r)
		}
		switch {
		case lower && state == capital:
			return true
		case lower || r == ',':
			state = word
		case r == ' ' && (state == word || state == space):
			state = space
		case state == space && unicode.IsUpper(r) && unicode.Is(unicode.Lu, r):
			state = capital
		default:
			state = none
		}
	}
	return false
}

var timeWords = set(`yesterday today tonight tomorrow ago last next just since recently week weeks weekend month months year years days
	monday tuesday wednesday thursday friday saturday sunday january february march april june july august september october november
	december spring summer autumn fall winter morning evening night`)

var numberWords = set(`two three four five six seven eight nine ten eleven twelve once twice couple dozen hundred thousand million`)

func set(list string) map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(list) {
		m[w] = true
	}
	return m
}

// indicator is 1 for true and 0 for false.
func indicator(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
