package retrieve

import (
	"math"
	"slices"
	"strings"
	"sync"

	"github.com/budgetmem/budgetmem/tiers/text"
)

// featureNames names the columns that corpus.features returns, in order. "cos" is the inner product of the question's vector and another,
// "bm25" a tenth of BM25, "cover" the share of the question's content words found, weighted by rarity.
var featureNames = []string{
	"cos", "cos_prev", "cos_next", // the turn, its neighbours
	"cos_pair",     // the turn and the one it replies to, taken together
	"cos_chunk",    // the chunk
	"cos_session",  // mean of the session's three best turns
	"cos_feedback", // the turn and the mean of the five turns that look best at first sight
	"bm25", "bm25_prev", "bm25_next", "bm25_chunk", "bm25_session",
	"cover", "cover_window", "cover_chunk", "cover_session", // window: the turn and its neighbours
	"said_by_asked",  // the question names the turn's speaker
	"said_by_other",  // it names somebody else who speaks in this memory
	"reply_to_asked", // the turn before was said by the one it names
	"asks_when_has_time", "asks_number_has_number", "asks_who_has_name", "asks_where_has_name",
	"has_time", "has_number", "has_name",
	"is_question", "reply_to_question", "size", "size_prev",
	"date_match", // share of the question's day, month and year that are the session's
}

// parsedQuery is a question taken apart.
type parsedQuery struct {
	stems    []int32        // of the content words, each once, -1 where no turn holds it; names of speakers left out
	speakers map[int32]bool // stems of the speakers' names that occur
	dates    map[string]bool

	when, number, who, where float64 // 1 if it asks for that
}

// cues says by which words a question asks for a time, a number, a person, a place.
var cues = struct{ when, number, who, where map[string]bool }{
	set("when date day month year long ago"), set("many much often number"), set("who whom whose"), set("where city country place"),
}

func (c *corpus) parse(question string) parsedQuery {
	q := parsedQuery{speakers: map[int32]bool{}, dates: dateParts(question)}
	for _, w := range text.Tokens(question) {
		w = strings.ToLower(w)
		q.when = max(q.when, indicator(cues.when[w]))
		q.number = max(q.number, indicator(cues.number[w]))
		q.who = max(q.who, indicator(cues.who[w]))
		q.where = max(q.where, indicator(cues.where[w]))
		if c.vocabulary.language.IsStop(w) {
			continue
		}
		s := c.vocabulary.find(w)
		switch {
		case c.isSpeaker(s):
			q.speakers[s] = true
		case s < 0 || !slices.Contains(q.stems, s):
			q.stems = append(q.stems, s)
		}
	}
	return q
}

func (c *corpus) isSpeaker(stem int32) bool { return c.named[stem] }

// view is a corpus seen from one question: what is known of every turn, chunk and session before features are put together.
type view struct {
	*corpus
	question Query
	query    parsedQuery
	visible  []bool      // by turn; nil for all
	embedded [][]float32 // by turn; nil for those that are not embedded

	cos, pair, bm         []float64 // by turn
	cosChunk, bmChunk     []float64
	meanCos               float64
	cosSession, bmSession []float64
	firstSight            []float64 // by turn: standardised cosine plus BM25
	centre                []float32 // of the turns that look best at first sight
	centreNorm            float64
	cover                 coverage
	said                  []float64 // by speaker: 1 if the question names them
	dateMatch             []float64 // by date
}

// look prepares a question. chunkVectors are the unit embeddings of the chunks; visible says which turns may be seen, nil for all.
func (c *corpus) look(question Query, chunkVectors [][]float32, visible []bool) *view {
	v := c.view(question, visible)
	var words sync.WaitGroup
	words.Go(v.compareWords)
	v.compareVectors(chunkVectors, c.vectors)
	words.Wait()
	v.feedback()
	return v
}

// view is the corpus before anything is compared with the question.
func (c *corpus) view(question Query, visible []bool) *view {
	v := &view{corpus: c, question: question, query: c.parse(question.Text), visible: visible}
	v.said = make([]float64, len(c.speakers))
	for i, name := range c.speakers {
		for s := range name {
			v.said[i] = max(v.said[i], indicator(v.query.speakers[s]))
		}
	}
	v.dateMatch = make([]float64, len(c.dates))
	for i, parts := range c.dates {
		for p := range v.query.dates {
			v.dateMatch[i] += indicator(parts[p]) / float64(len(v.query.dates))
		}
	}
	return v
}

func (v *view) compareWords() {
	stems := v.query.stems
	v.bm = v.inTurns.bm25(stems)
	v.bmChunk, v.bmSession = v.inChunks.bm25(stems), v.inSessions.bm25(stems)
	v.cover = v.corpus.cover(v.query)
}

// compareVectors takes the vectors of chunks and turns, nil for those that are not embedded, which count as one like any other.
func (v *view) compareVectors(chunks, turns [][]float32) {
	v.embedded = turns
	v.cos, v.pair = dots(v.question.Vector, turns), make([]float64, len(turns))
	v.meanCos = fill(v.cos, turns)
	for i, t := range v.turns {
		v.pair[i] = v.cos[i]
		if t.prev < 0 {
			continue
		}
		norm := t.pairNorm
		if norm == 0 && turns[t.prev] != nil && turns[i] != nil {
			norm = pairNorm(turns[t.prev], turns[i])
		}
		if norm > 0 {
			v.pair[i] = (v.cos[t.prev] + v.cos[i]) / norm
		}
	}
	v.cosChunk = dots(v.question.Vector, chunks)
	fill(v.cosChunk, chunks)
	v.cosSession = v.bestThree(v.cos)
}

// fill gives values without a vector the mean of the others, which it returns.
func fill(values []float64, vectors [][]float32) float64 {
	sum, n := 0.0, 0
	for i, v := range vectors {
		if v != nil {
			sum += values[i]
			n++
		}
	}
	mean := sum / float64(max(1, n))
	for i, v := range vectors {
		if v == nil {
			values[i] = mean
		}
	}
	return mean
}

// features returns one row of featureNames for each of the turns.
func (v *view) features(turns []int) [][]float64 {
	rows, flat := make([][]float64, len(turns)), make([]float64, len(turns)*len(featureNames))
	q := v.query
	for n, i := range turns {
		t := &v.turns[i]
		// What a missing neighbour counts as: a turn like any other.
		var prev turnFacts
		cosPrev, cosNext, bmPrev, bmNext := v.meanCos, v.meanCos, 0.0, 0.0
		if t.prev >= 0 {
			prev, cosPrev, bmPrev = v.turns[t.prev], v.cos[t.prev], v.bm[t.prev]
		}
		if t.next >= 0 {
			cosNext, bmNext = v.cos[t.next], v.bm[t.next]
		}
		other := indicator(len(q.speakers) > 0 && t.speaker > 0 && v.said[t.speaker] == 0)
		rows[n] = append(flat[n*len(featureNames):n*len(featureNames):(n+1)*len(featureNames)],
			v.cos[i], cosPrev, cosNext, v.pair[i], v.cosChunk[t.chunk], v.cosSession[t.session], dot(v.centre, v.embedded[i])/v.centreNorm,
			v.bm[i]/10, bmPrev/10, bmNext/10, v.bmChunk[t.chunk]/10, v.bmSession[t.session]/10,
			v.cover.turn[i], v.cover.window[i], v.cover.chunk[t.chunk], v.cover.session[t.session],
			v.said[t.speaker], other, v.said[prev.speaker],
			q.when*indicator(t.time), q.number*indicator(t.number), q.who*indicator(t.name), q.where*indicator(t.name),
			indicator(t.time), indicator(t.number), indicator(t.name),
			indicator(t.question), indicator(prev.question), t.size, prev.size,
			v.dateMatch[t.date],
		)
	}
	return rows
}

// bestThree returns, for each session, the mean of its three best scores; a session of fewer turns has zeros for the rest.
func (c *corpus) bestThree(scores []float64) []float64 {
	best := make([][3]float64, len(c.last))
	for i, t := range c.turns {
		b, v := &best[t.session], scores[i]
		for j := range b {
			if v > b[j] {
				b[j], v = v, b[j]
			}
		}
	}
	out := make([]float64, len(best))
	for i, b := range best {
		out[i] = (b[0] + b[1] + b[2]) / 3
	}
	return out
}

// feedback finds the mean of the five visible turns with a vector that score best by standardised cosine plus BM25.
func (v *view) feedback() {
	if len(v.turns) == 0 {
		return
	}
	v.lookFirst()
	v.centre = make([]float32, len(v.question.Vector))
	for _, i := range top(v.firstSight, 5) {
		for j, x := range v.embedded[i] {
			v.centre[j] += x
		}
	}
	v.centreNorm = math.Sqrt(dot(v.centre, v.centre)) + 1e-9
}

// lookFirst scores each turn by standardised cosine plus BM25.
func (v *view) lookFirst() {
	v.firstSight = standardise(v.cos)
	for i, s := range standardise(v.bm) {
		v.firstSight[i] += s
	}
	for i, vector := range v.embedded {
		if vector == nil || v.visible != nil && !v.visible[i] {
			v.firstSight[i] = math.Inf(-1)
		}
	}
}

// coverage is the share of a question's words found in each turn, each turn with its neighbours, each chunk and each session.
type coverage struct{ turn, window, chunk, session []float64 }

// cover weighs each word by its rarity among the turns. A word that occurs nowhere counts half: it may be misspelt or said otherwise.
func (c *corpus) cover(q parsedQuery) coverage {
	total := 1e-9
	weights := make([]float64, len(q.stems))
	for k, s := range q.stems {
		weights[k] = c.inTurns.idf(s)
		if s < 0 {
			weights[k] /= 2
		}
		total += weights[k]
	}
	units := func(n int) tally { return tally{make([]float64, n), make([]int32, n)} }
	turn, window, chunk, session := units(len(c.turns)), units(len(c.turns)), units(len(c.first)-1), units(len(c.last))
	for k, s := range q.stems {
		if s < 0 {
			continue
		}
		w := weights[k] / total
		for i := range c.inTurns.texts(s) {
			t := &c.turns[i]
			turn.add(i, k, w)
			for _, u := range [...]int32{t.prev, i, t.next} {
				window.add(u, k, w)
			}
			chunk.add(t.chunk, k, w)
			session.add(t.session, k, w)
		}
		for i := range c.inSessions.texts(s) { // the session's name
			session.add(i, k, w)
		}
	}
	return coverage{turn.sums, window.sums, chunk.sums, session.sums}
}

// tally adds each word to a unit once.
type tally struct {
	sums []float64
	seen []int32 // number of the last word added, plus one
}

func (t tally) add(unit int32, word int, weight float64) {
	if unit >= 0 && t.seen[unit] != int32(word)+1 {
		t.seen[unit] = int32(word) + 1
		t.sums[unit] += weight
	}
}

func mean(values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return sum / float64(max(1, len(values)))
}

// standardise shifts and scales values to mean 0 and deviation 1.
func standardise(values []float64) []float64 {
	m := mean(values)
	square := 0.0
	for _, v := range values {
		square += (v - m) * (v - m)
	}
	deviation := math.Sqrt(square/float64(max(1, len(values)))) + 1e-9
	out := make([]float64, len(values))
	for i, v := range values {
		out[i] = (v - m) / deviation
	}
	return out
}
