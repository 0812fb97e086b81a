package chunk

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// DefaultTokens is the chunk size used where none is given.
const DefaultTokens = 256

// Split packs turns, in order, into chunks of at most maxTokens tokens each (maxTokens ≤ 0 means DefaultTokens). count measures a text
// in tokens, special tokens left out; it is called with texts that may become a chunk's Text.
//
// A chunk never crosses sessions. A turn too long for one chunk is split over several, at the last sentence border that fits, else
// between words, else between characters; no word is lost, and only the white space at the cut goes. The rest of such a turn shares its
// chunk with the turns that follow. The one case of a chunk over maxTokens is a limit too small for even one character of a turn.
//
// A chunk's id is SESSION#N, N counted from 1 inside the session, so that adding sessions, or turns at a session's end, changes no
// earlier chunk. A chunk's time is that of its first turn.
//
// The only error is that of ctx.
func Split(ctx context.Context, turns []Turn, count func(string) int, maxTokens int) ([]Chunk, error) {
	s := NewSplitter(count, maxTokens)
	for i, t := range turns {
		if err := s.Add(ctx, t, int64(i)); err != nil {
			return nil, fmt.Errorf("cut turn %d of %d into chunks: %w", i+1, len(turns), err)
		}
	}
	var chunks []Chunk
	for _, c := range s.Cut() {
		chunks = append(chunks, c.Chunk)
	}
	return chunks, nil
}

// Placed is a chunk that knows where its turns stand in their history.
type Placed struct {
	Chunk
	At []int64 // position of each turn
}

// Splitter cuts turns into chunks as they come, each time as Split would cut the whole history. It fills one open chunk after
// the other.
type Splitter struct {
	count   func(string) int
	max     int
	numbers map[string]int // chunks so far, by session
	chunks  []Placed
	open    Placed // without turns: nothing is open
	at      int64  // position of the turn that is being added
	last    int    // bytes of the text that was cut off last from the same turn, 0 if none was
}

// NewSplitter returns a splitter with the settings of Split.
func NewSplitter(count func(string) int, maxTokens int) *Splitter {
	if maxTokens <= 0 {
		maxTokens = DefaultTokens
	}
	return &Splitter{count: count, max: maxTokens, numbers: map[string]int{}}
}

// Resume takes up the last chunk of a history, to which the next turn may belong. It comes out of Cut again, under its name,
// grown or not.
func (s *Splitter) Resume(last Placed) { s.open = last }

// Number says how many chunks a session has already.
func (s *Splitter) Number(session string, chunks int) { s.numbers[session] = chunks }

// Cut returns the chunks of the turns so far. Nothing can be added after it.
func (s *Splitter) Cut() []Placed {
	s.flush()
	return s.chunks
}

// Add puts a turn, which stands at this position, into the open chunk when it fits there, else into chunks of its own. The only
// error is that of ctx.
func (s *Splitter) Add(ctx context.Context, t Turn, at int64) error {
	s.at, s.last = at, 0
	window := s.window(t)
	if len(s.open.Turns) > 0 {
		if s.open.Session == t.Session && window == len(t.Text) && s.push(t) {
			return nil
		}
		s.flush()
	}
	for window < len(t.Text) || !s.push(t) {
		if err := ctx.Err(); err != nil {
			return err
		}
		head, tail := s.cut(t, window)
		part := t
		part.Text = head
		s.force(part)
		if tail == "" {
			return nil
		}
		s.flush()
		t.Text = tail
		window = s.window(t)
	}
	return ctx.Err()
}

// push appends the turn to the open chunk if the result is within the limit.
func (s *Splitter) push(t Turn) bool {
	line := t.Raw()
	if len(s.open.Turns) > 0 {
		line = s.open.Text() + "\n" + line
	}
	n := s.count(line)
	if n > s.max {
		return false
	}
	s.append(t, n)
	return true
}

// force appends the turn to the open chunk whatever its length.
func (s *Splitter) force(t Turn) { s.append(t, s.count(t.Raw())) }

func (s *Splitter) append(t Turn, tokens int) {
	if len(s.open.Turns) == 0 {
		s.open.Session, s.open.Time = t.Session, t.Time
	}
	s.open.Turns, s.open.At = append(s.open.Turns, t), append(s.open.At, s.at)
	s.open.Tokens = tokens
}

// flush closes the open chunk and names it.
func (s *Splitter) flush() {
	if len(s.open.Turns) == 0 {
		return
	}
	if s.open.ID == "" {
		s.numbers[s.open.Session]++
		s.open.ID = Name(s.open.Session, s.numbers[s.open.Session])
	}
	s.chunks = append(s.chunks, s.open)
	s.open = Placed{}
}

// Name is the id of a session's nth chunk, counted from 1.
func Name(session string, n int) string { return session + "#" + strconv.Itoa(n) }

// fits reports whether a chunk can hold the first n bytes of the turn's text.
func (s *Splitter) fits(t Turn, n int) bool {
	t.Text = strings.TrimSpace(t.Text[:n])
	return s.count(t.Raw()) <= s.max
}

// window returns how many bytes of the turn's text have to be looked at to cut it: enough that they do not fit into a chunk,
// or all. So the time for a text of any length grows with its length alone.
func (s *Splitter) window(t Turn) int {
	n := bytesPerToken * s.max
	if s.last > 0 {
		n = max(utf8.UTFMax, 2*s.last)
	}
	for ; n < len(t.Text); n *= 2 {
		at := n
		// In a text that is no UTF-8, the start of a character may be far away.
		for range utf8.UTFMax - 1 {
			if at > 1 && !utf8.RuneStart(t.Text[at]) {
				at--
			}
		}
		end := at
		if ends := wordEnds(t.Text[:at]); len(ends) > 0 {
			end = ends[len(ends)-1]
		}
		if !s.fits(t, end) {
			return at
		}
	}
	return len(t.Text)
}

// bytesPerToken is about what a token has in most texts.
const bytesPerToken = 4

// cut splits the text of a turn that is too long for a chunk: head fits, tail is what remains. Only the window is looked at.
func (s *Splitter) cut(t Turn, window int) (head, tail string) {
	text := t.Text[:window]
	guess := s.last
	if guess == 0 {
		guess = bytesPerToken * s.max
	}
	fits := func(n int) bool { return s.fits(t, n) }
	at := longest(wordEnds(text), guess, fits)
	if at > 0 {
		// A sentence border is taken only when it leaves the chunk at least half full.
		if border := lastSentenceEnd(text[:at]); border > at/2 && fits(border) {
			at = border
		}
	} else {
		lead := len(text) - len(strings.TrimLeftFunc(text, unicode.IsSpace))
		at = longest(runeEnds(text, lead), guess, fits)
		if at == 0 {
			_, size := utf8.DecodeRuneInString(text[lead:])
			at = lead + size
		}
	}
	s.last = at
	return strings.TrimSpace(t.Text[:at]), strings.TrimSpace(t.Text[at:])
}

// longest returns the largest of the ascending ends that fits, 0 if none does. It looks near the guess first. It takes fitting to
// be monotone, and where a tokenizer breaks that it still returns an end that fits.
func longest(ends []int, guess int, fits func(int) bool) int {
	lo, hi := 0, len(ends) // ends[:lo] fit, ends[hi:] do not
	at, _ := slices.BinarySearch(ends, guess)
	for step := max(1, at/16); lo <= at && at < hi; step *= 2 {
		if fits(ends[at]) {
			lo = at + 1
			if at += step; hi < len(ends) {
				break
			}
		} else {
			hi = at
			if at -= step; lo > 0 {
				break
			}
		}
	}
	for lo < hi {
		mid := (lo + hi) / 2
		if fits(ends[mid]) {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == 0 {
		return 0
	}
	return ends[lo-1]
}

// wordEnds returns the byte offsets at which the words of text end, the end of text left out.
func wordEnds(text string) []int {
	var ends []int
	inWord := false
	for i, r := range text {
		space := unicode.IsSpace(r)
		if inWord && space {
			ends = append(ends, i)
		}
		inWord = !space
	}
	return ends
}

// runeEnds returns the byte offsets at which the characters of text from offset lead end, the end of text left out.
func runeEnds(text string, lead int) []int {
	var ends []int
	for i := range text[lead:] {
		if i > 0 {
			ends = append(ends, lead+i)
		}
	}
	return ends
}

// lastSentenceEnd returns the byte offset at which the last finished sentence or line of text ends, 0 if there is none. The end of text
// counts when it stands behind a full stop.
func lastSentenceEnd(text string) int {
	for i := len(text); i > 0; {
		r, size := utf8.DecodeLastRuneInString(text[:i])
		switch {
		case r == '\n', strings.ContainsRune("。！？", r):
			return i
		case strings.ContainsRune(".!?", r):
			next, _ := utf8.DecodeRuneInString(text[i:])
			if i == len(text) || unicode.IsSpace(next) {
				return i
			}
		}
		i -= size
	}
	return 0
}
