package local

import (
	"context"
	"math/rand/v2"
)

// sequence is one request in the scheduler: a prompt whose reply is to be generated, or a text to be scored.
type sequence struct {
	ctx    context.Context
	ids    []int32  // prompt, then what was generated; or the whole text to score
	prompt int      // how many of ids were given
	n      int      // tokens whose keys and values are known, from the start
	reused int      // of these, how many came from the prefix cache
	blocks []*block // of the first n tokens, while in prefill
	done   chan<- *sequence
	err    error

	// A reply to generate.
	maxTokens   int
	temperature float64
	rng         *rand.Rand
	stop        func(reply []int32) bool // whether the reply so far is complete, looked at after every token
	allowed     func(int32) bool         // which tokens the reply may go on with; nil for all
	eog         func(int32) bool
	rate        bool         // whether ratings are kept
	ratings     []rating     // of every generated token, the one that ended the reply included
	tokens      chan<- int32 // gets every token of the reply and is closed at the end; has room for all; may be nil
	finish      string

	// A text to score: the log-probabilities of ids[scoreFrom:], added up as they come.
	scoring   bool
	scoreFrom int
	logProb   float64
	pending   int // rows waiting for the scoring head
}

// end is how many tokens prefill has to compute. The last token is left out: a generated reply begins with a step of
// decode on it, and when scoring nothing follows it.
func (s *sequence) end() int { return s.prompt - 1 }

// reusable is how many tokens may come from the prefix cache: all that are computed, but when scoring only those before
// the first row that is needed.
func (s *sequence) reusable() int {
	if s.scoring {
		return min(s.end(), s.scoreFrom-1)
	}
	return s.end()
}

// last returns the block before position n, nil at the start.
func (s *sequence) last() *block {
	if len(s.blocks) == 0 {
		return nil
	}
	return s.blocks[len(s.blocks)-1]
}

// nextKey names the next whole block that the sequence needs; ok is false if less than a block is left.
func (s *sequence) nextKey() (k blockKey, ok bool) {
	if s.n+blockTokens > s.reusable() {
		return k, false
	}
	return key(s.last(), s.ids[s.n:s.n+blockTokens]), true
}

// adopt references the prefix cache's blocks for the sequence's next tokens.
func (s *sequence) adopt(p *prefixCache) {
	for {
		k, ok := s.nextKey()
		if !ok {
			return
		}
		b := p.get(k)
		if b == nil {
			return
		}
		s.blocks = append(s.blocks, b)
		s.n += blockTokens
		s.reused += blockTokens
	}
}

// reply is the text generated so far.
func (s *sequence) reply() []int32 { return s.ids[s.prompt:] }

// extend adds a generated token and reports whether the reply is complete. A token that ends the reply is not part of it.
func (s *sequence) extend(token int32) bool {
	if s.eog(token) {
		s.finish = "stop"
		return true
	}
	s.ids = append(s.ids, token)
	if s.tokens != nil {
		s.tokens <- token
	}
	switch {
	case s.stop != nil && s.stop(s.reply()):
		s.finish = "stop"
	case len(s.reply()) >= s.maxTokens:
		s.finish = "length"
	}
	return s.finish != ""
}
