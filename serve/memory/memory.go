// Package memory offers the memories of a bmem.Memory to other programs: a Service with plain requests and results, which
// the REST handler here and the MCP tools of package serve/mcp share.
package memory

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/budgetmem/budgetmem/bmem"
	"github.com/budgetmem/budgetmem/bmem/chunk"
)

// Limits of requests.
const (
	MaxName   = 100  // characters of a memory's name
	MaxTurns  = 1000 // of one Add
	MaxFound  = 100  // turns that one Search returns
	maxAsking = 8000 // bytes of a question or query
)

// Service answers requests about the memories of one file. It is safe for concurrent use.
type Service struct {
	mem *bmem.Memory
}

// New returns a service over mem, which stays the caller's.
func New(mem *bmem.Memory) *Service { return &Service{mem} }

// Scope says what a caller may reach. The zero value reaches every memory by name.
type Scope struct {
	// Namespace keeps callers apart: all names are looked up below it and shown without it. It must hold no slash.
	Namespace string
	// Memory is the only memory, if not "", so that requests need not name one.
	Memory string
}

// Turn is something that was said.
type Turn struct {
	ID      string `json:"id" jsonschema:"id of the turn within its memory"`
	Session string `json:"session" jsonschema:"what groups the turns of one sitting or document"`
	Time    string `json:"time" jsonschema:"when it was said, in the words of its source; may be empty"`
	Speaker string `json:"speaker" jsonschema:"who said it; may be empty"`
	Text    string `json:"text" jsonschema:"what was said"`
}

// NewTurn is a turn to add. Only the text is needed.
type NewTurn struct {
	Text    string `json:"text" jsonschema:"what was said"`
	Speaker string `json:"speaker,omitempty" jsonschema:"who said it"`
	Time    string `json:"time,omitempty" jsonschema:"when it was said, such as 2025-03-03 10:04; now if left out"`
	Session string `json:"session,omitempty" jsonschema:"groups the turns of one sitting; the day if left out"`
	ID      string `json:"id,omitempty" jsonschema:"id of the turn; adding the same turn with the same id again changes nothing"`
}

// AddRequest adds turns to the end of a memory, which is made if need be.
type AddRequest struct {
	Memory  string    `json:"memory,omitempty" jsonschema:"name of the memory"`
	Turns   []NewTurn `json:"turns" jsonschema:"what was said, in its order"`
	Expires string    `json:"expires,omitempty" jsonschema:"when the turns are forgotten by themselves: a day such as 2026-03-01, or how long they are kept such as 30d, or never"`
}

// AddResult says what was added.
type AddResult struct {
	Memory  string   `json:"memory"`
	New     int      `json:"new" jsonschema:"turns that were added"`
	Skipped int      `json:"skipped" jsonschema:"turns that were there already"`
	IDs     []string `json:"ids" jsonschema:"ids of the turns, in their order"`
}

// SearchRequest looks for turns. No language model is asked.
type SearchRequest struct {
	Memory string `json:"memory,omitempty" jsonschema:"name of the memory"`
	Query  string `json:"query" jsonschema:"what to look for, in words or as a question"`
	Limit  Count  `json:"limit,omitempty" jsonschema:"how many turns at most, 1 to 100; 10 if left out"`
	Before string `json:"before,omitempty" jsonschema:"only what was said before this day or time, such as 2025-03-03 or 2025-03-03T10:04:00Z"`
	After  string `json:"after,omitempty" jsonschema:"only what was said after this day or time, such as 2025-03-03"`
}

// Count is a number of things. In JSON 5 and 5.0 are the same, as some clients write the latter.
type Count int

// UnmarshalJSON implements json.Unmarshaler.
func (c *Count) UnmarshalJSON(data []byte) error {
	var f float64
	if err := json.Unmarshal(data, &f); err != nil {
		return err
	}
	if f != math.Trunc(f) || math.Abs(f) > 1e9 {
		return fmt.Errorf("%.40s is no whole number, or too large", data)
	}
	*c = Count(f)
	return nil
}

// Found is a turn with how well it fits.
type Found struct {
	Turn
	Score float64 `json:"score" jsonschema:"how well the turn fits, higher is better"`
}

// SearchResult holds the turns that fit best, best first.
type SearchResult struct {
	Turns []Found `json:"turns"`
}

// AskRequest asks a question. Budget and MaxDollars may be left out.
type AskRequest struct {
	Memory     string   `json:"memory,omitempty" jsonschema:"name of the memory"`
	Question   string   `json:"question" jsonschema:"the question, in a sentence"`
	Budget     string   `json:"budget,omitempty" jsonschema:"how much extraction the answer is worth: low, mid or high"`
	MaxDollars *float64 `json:"max_dollars,omitempty" jsonschema:"hard limit of what the answer may cost, in dollars"`
	Before     string   `json:"before,omitempty" jsonschema:"only what was said before this day or time, such as 2025-03-03 or 2025-03-03T10:04:00Z"`
	After      string   `json:"after,omitempty" jsonschema:"only what was said after this day or time, such as 2025-03-03"`
}

// AskResult is an answer with what it rests on and what it cost. There is no confidence in it, as the pipeline gives none.
type AskResult struct {
	Answer       string            `json:"answer"`
	Evidence     []Turn            `json:"evidence" jsonschema:"the turns that the answer was made from, best first"`
	Tiers        map[string]string `json:"tiers" jsonschema:"the tier that each module ran at"`
	TokensIn     int               `json:"tokens_in"`
	TokensOut    int               `json:"tokens_out"`
	Dollars      float64           `json:"dollars" jsonschema:"what the model calls cost together"`
	Milliseconds float64           `json:"milliseconds" jsonschema:"how long it took"`
}

// ListResult describes the memories that a scope reaches.
type ListResult struct {
	Memories []Info `json:"memories"`
}

// Info describes a memory.
type Info struct {
	Name     string `json:"name"`
	Turns    int    `json:"turns"`
	Sessions int    `json:"sessions"`
	Bytes    int64  `json:"bytes" jsonschema:"of text"`
	Changed  string `json:"changed" jsonschema:"when it was last changed, RFC 3339; empty if that is not known"`
}

// GetRequest reads turns of a memory, page by page.
type GetRequest struct {
	Memory  string `json:"memory,omitempty" jsonschema:"name of the memory"`
	Session string `json:"session,omitempty" jsonschema:"only turns of this session"`
	Speaker string `json:"speaker,omitempty" jsonschema:"only turns of this speaker"`
	Cursor  string `json:"cursor,omitempty" jsonschema:"next of the page before"`
	Limit   Count  `json:"limit,omitempty" jsonschema:"how many turns at most, 1 to 1000; 100 if left out"`
}

// Page is a part of a memory's turns.
type Page struct {
	Turns []Turn `json:"turns"`
	Next  string `json:"next" jsonschema:"cursor of the next page; empty if this is the last"`
}

// DeleteRequest forgets a turn, a session, everything of a speaker, or without any of these the whole memory.
type DeleteRequest struct {
	Memory  string `json:"memory,omitempty" jsonschema:"name of the memory"`
	Turn    string `json:"turn,omitempty" jsonschema:"id of a turn to forget"`
	Session string `json:"session,omitempty" jsonschema:"a session to forget"`
	Speaker string `json:"speaker,omitempty" jsonschema:"forget everything that this speaker said"`
}

// DeleteResult says how much was forgotten.
type DeleteResult struct {
	Turns    int `json:"turns"`
	Memories int `json:"memories" jsonschema:"memories of which nothing is left"`
}

// name returns the stored name of a memory.
func (s Scope) name(memory string) (string, error) {
	switch {
	case s.Memory != "" && memory == "":
		memory = s.Memory
	case s.Memory != "" && memory != s.Memory:
		return "", &Error{Status: http.StatusForbidden, Message: fmt.Sprintf("this connection is for the memory %q alone", s.Memory)}
	case memory == "":
		return "", bad("memory: name the memory")
	}
	if utf8.RuneCountInString(memory) > MaxName || !utf8.ValidString(memory) || strings.Contains(memory, "/") || strings.ContainsFunc(memory, unicode.IsControl) || strings.TrimSpace(memory) != memory {
		return "", bad("memory: a name has at most %d characters, no slash, no control character, and no space at its ends", MaxName)
	}
	if s.Namespace != "" {
		return s.Namespace + "/" + memory, nil
	}
	return memory, nil
}

// shown returns the name of a stored memory as a scope shows it; ok is false if it may not see it.
func (s Scope) shown(stored string) (name string, ok bool) {
	namespace, name, cut := strings.Cut(stored, "/")
	if !cut {
		namespace, name = "", stored
	}
	return name, namespace == s.Namespace && (s.Memory == "" || name == s.Memory)
}

// Add adds turns.
func (s *Service) Add(ctx context.Context, scope Scope, r AddRequest) (AddResult, error) {
	name, err := scope.name(r.Memory)
	if err != nil {
		return AddResult{}, err
	}
	if len(r.Turns) == 0 || len(r.Turns) > MaxTurns {
		return AddResult{}, bad("turns: want 1 to %d", MaxTurns)
	}
	now := time.Now().UTC()
	turns := make([]chunk.Turn, len(r.Turns))
	ids := make([]string, len(r.Turns))
	for i, t := range r.Turns {
		if strings.TrimSpace(t.Text) == "" {
			return AddResult{}, bad("turns[%d].text: missing or empty", i)
		}
		if t.Session == "" {
			t.Session = now.Format(time.DateOnly)
		}
		if t.Time == "" {
			t.Time = now.Format("2006-01-02 15:04")
		}
		if t.ID == "" {
			t.ID = t.Session + ":" + rand.Text()[:12] // no other client can have made the same
		}
		turns[i], ids[i] = chunk.Turn{ID: t.ID, Session: t.Session, Time: t.Time, Speaker: t.Speaker, Text: t.Text}, t.ID
	}
	var opts []bmem.AddOption
	if r.Expires != "" {
		at, err := bmem.ParseExpiry(r.Expires, now)
		if err != nil {
			return AddResult{}, bad("expires: %v", err)
		}
		opts = append(opts, bmem.WithExpiry(at))
	}
	leave, err := enter(ctx)
	if err != nil {
		return AddResult{}, err
	}
	defer leave()
	added, err := s.mem.Add(ctx, name, turns, opts...)
	if err != nil {
		return AddResult{}, err
	}
	shown, _ := scope.shown(name)
	return AddResult{Memory: shown, New: added.New, Skipped: added.Skipped, IDs: ids}, nil
}

// Search looks for turns.
func (s *Service) Search(ctx context.Context, scope Scope, r SearchRequest) (SearchResult, error) {
	opts, err := s.options(scope, r.Memory, r.Query, r.Before, r.After)
	if err != nil {
		return SearchResult{}, err
	}
	switch {
	case r.Limit < 0 || r.Limit > MaxFound:
		return SearchResult{}, bad("limit: want 1 to %d", MaxFound)
	case r.Limit > 0:
		opts = append(opts, bmem.WithTopK(int(r.Limit)))
	}
	leave, err := enter(ctx)
	if err != nil {
		return SearchResult{}, err
	}
	defer leave()
	hits, err := s.mem.Search(ctx, r.Query, opts...)
	if err != nil {
		return SearchResult{}, err
	}
	out := SearchResult{Turns: []Found{}}
	for _, h := range hits {
		out.Turns = append(out.Turns, Found{turnOf(h.Turn), h.Score})
	}
	return out, nil
}

// options are those that a search and a question share.
func (s *Service) options(scope Scope, memory, text, before, after string) ([]bmem.Option, error) {
	name, err := scope.name(memory)
	if err != nil {
		return nil, err
	}
	if strings.TrimSpace(text) == "" || len(text) > maxAsking {
		return nil, bad("the question or query: want 1 to %d bytes of text", maxAsking)
	}
	opts := []bmem.Option{bmem.WithMemory(name)}
	for field, with := range map[string]func(time.Time) bmem.Option{"before": bmem.WithBefore, "after": bmem.WithAfter} {
		value := map[string]string{"before": before, "after": after}[field]
		if value == "" {
			continue
		}
		at, err := parseTime(value)
		if err != nil {
			return nil, bad("%s: %v", field, err)
		}
		opts = append(opts, with(at))
	}
	return opts, nil
}

// parseTime reads a day or a time.
func parseTime(s string) (time.Time, error) {
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%.40q: want a day such as 2025-03-03 or a time such as 2025-03-03T10:04:00Z", s)
}

// budgets are the tiers that AskRequest.Budget names.
var budgets = []string{"low", "mid", "high"}

// Ask answers a question.
func (s *Service) Ask(ctx context.Context, scope Scope, r AskRequest) (AskResult, error) {
	opts, err := s.options(scope, r.Memory, r.Question, r.Before, r.After)
	if err != nil {
		return AskResult{}, err
	}
	if r.Budget != "" {
		if !slices.Contains(budgets, r.Budget) {
			return AskResult{}, bad("budget: %.40q: want low, mid or high", r.Budget)
		}
		opts = append(opts, bmem.WithTiers(r.Budget))
	}
	if r.MaxDollars != nil {
		if !(*r.MaxDollars > 0) {
			return AskResult{}, bad("max_dollars: want more than 0")
		}
		opts = append(opts, bmem.WithMaxCost(*r.MaxDollars))
	}
	leave, err := enter(ctx)
	if err != nil {
		return AskResult{}, err
	}
	defer leave()
	a, err := s.mem.Ask(ctx, r.Question, opts...)
	if err != nil {
		return AskResult{}, err
	}
	usage := a.Trace.Usage()
	out := AskResult{Answer: a.Text, Evidence: []Turn{}, Tiers: map[string]string{}, TokensIn: usage.In, TokensOut: usage.Out,
		Dollars: usage.Dollars, Milliseconds: a.Trace.WallMS}
	for _, m := range a.Trace.Modules {
		out.Tiers[m.Module] = m.Served
	}
	for _, id := range a.Evidence {
		t, err := s.mem.Turn(ctx, a.Trace.Memory, id)
		if err == nil { // else it was forgotten meanwhile
			out.Evidence = append(out.Evidence, turnOf(t.Turn))
		}
	}
	return out, nil
}

// List describes the memories.
func (s *Service) List(ctx context.Context, scope Scope) (ListResult, error) {
	all, err := s.mem.Memories(ctx)
	if err != nil {
		return ListResult{}, err
	}
	out := ListResult{Memories: []Info{}}
	for _, m := range all {
		if name, ok := scope.shown(m.Name); ok {
			out.Memories = append(out.Memories, infoOf(name, m))
		}
	}
	return out, nil
}

// Describe describes one memory.
func (s *Service) Describe(ctx context.Context, scope Scope, memory string) (Info, error) {
	name, err := scope.name(memory)
	if err != nil {
		return Info{}, err
	}
	m, err := s.mem.Describe(ctx, name)
	if err != nil {
		return Info{}, err
	}
	shown, _ := scope.shown(name)
	return infoOf(shown, m), nil
}

func infoOf(name string, m bmem.MemoryInfo) Info {
	i := Info{Name: name, Turns: m.Turns, Sessions: m.Sessions, Bytes: m.Bytes}
	if !m.Changed.IsZero() {
		i.Changed = m.Changed.UTC().Format(time.RFC3339)
	}
	return i
}

// Get reads a page of turns.
func (s *Service) Get(ctx context.Context, scope Scope, r GetRequest) (Page, error) {
	name, err := scope.name(r.Memory)
	if err != nil {
		return Page{}, err
	}
	if r.Limit < 0 || r.Limit > MaxTurns {
		return Page{}, bad("limit: want 1 to %d", MaxTurns)
	}
	p, err := s.mem.Turns(ctx, name, bmem.TurnQuery{Cursor: r.Cursor, Limit: int(r.Limit), Session: r.Session, Speaker: r.Speaker})
	if err != nil {
		return Page{}, err
	}
	out := Page{Turns: []Turn{}, Next: p.Next}
	for _, t := range p.Turns {
		out.Turns = append(out.Turns, turnOf(t.Turn))
	}
	return out, nil
}

// Turn reads one turn.
func (s *Service) Turn(ctx context.Context, scope Scope, memory, id string) (Turn, error) {
	name, err := scope.name(memory)
	if err != nil {
		return Turn{}, err
	}
	t, err := s.mem.Turn(ctx, name, id)
	return turnOf(t.Turn), err
}

// Delete forgets what the request names.
func (s *Service) Delete(ctx context.Context, scope Scope, r DeleteRequest) (DeleteResult, error) {
	name, err := scope.name(r.Memory)
	if err != nil {
		return DeleteResult{}, err
	}
	var gone bmem.Forgotten
	switch {
	case r.Turn != "" && r.Session == "" && r.Speaker == "":
		gone, err = s.mem.ForgetTurns(ctx, name, r.Turn)
	case r.Session != "" && r.Turn == "" && r.Speaker == "":
		gone, err = s.mem.ForgetSession(ctx, name, r.Session)
	case r.Speaker != "" && r.Turn == "" && r.Session == "":
		gone, err = s.mem.ForgetSpeaker(ctx, name, r.Speaker)
	case r.Turn == "" && r.Session == "" && r.Speaker == "":
		gone, err = s.mem.ForgetMemory(ctx, name)
	default:
		return DeleteResult{}, bad("give one of turn, session and speaker, or none to forget the memory")
	}
	return DeleteResult{gone.Turns, gone.Memories}, err
}

func turnOf(t chunk.Turn) Turn { return Turn{t.ID, t.Session, t.Time, t.Speaker, t.Text} }
