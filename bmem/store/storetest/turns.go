package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/bmem/chunk/chunktest"
	"github.com/budgetmem/budgetmem/bmem/embed/embedtest"
	"github.com/budgetmem/budgetmem/bmem/store"
)

func roundTrip(t *testing.T, p Place) {
	s := p.open(t)
	for _, n := range []int{12, 12, 30} { // new, the same again, grown
		turns := chunktest.History(n)
		add(t, s, "a", turns)
		add(t, s, "b", turns[:3])
		if got, want := memoryOf(t, s, "a"), (store.Memory{Name: "a", Turns: turns, Chunks: chunktest.Split(turns)}); !reflect.DeepEqual(got, want) {
			t.Fatalf("%d turns: got %+v\nwant %+v", n, got, want)
		}
	}
	again := p.open(t)
	names := []string{"a", "b"}
	for _, name := range []string{"Zoe", "é", "a b", "_"} { // as bytes are ordered, not as a language does
		add(t, again, name, chunktest.History(1))
		names = append(names, name)
	}
	slices.Sort(names)
	if got, err := s.Memories(t.Context()); err != nil || !slices.Equal(got, names) {
		t.Errorf("memories %q, want %q (%v)", got, names, err)
	}
	if infos, err := s.List(t.Context()); err != nil || len(infos) != len(names) || infos[0].Name != names[0] {
		t.Errorf("listed %+v (%v)", infos, err)
	}
	if _, err := again.Forget(t.Context(), store.Selection{Memory: "a", All: true}); err != nil {
		t.Error(err)
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
	for what, err := range map[string]error{
		"Memory":     second(s.Memory(t.Context(), "a")),
		"Generation": second(s.Generation(t.Context(), "a")),
		"Forget":     second(s.Forget(t.Context(), store.Selection{Memory: "a", All: true})),
	} {
		if !errors.Is(err, store.ErrNoMemory) || !strings.Contains(err.Error(), `"a"`) {
			t.Errorf("%s of a deleted memory: %v", what, err)
		}
	}
}

// However turns come, the chunks are those of the whole history cut at once.
func appendCutsAsSplitDoes(t *testing.T, p Place) {
	s := p.open(t)
	for seed := range uint64(6) {
		rng := rand.New(rand.NewPCG(seed, 1))
		name, all := fmt.Sprint("m", seed), randomTurns(rng, 60)
		for rest := all; len(rest) > 0; {
			n := min(1+rng.IntN(7), len(rest))
			add(t, s, name, rest[:n])
			rest = rest[n:]
		}
		if got := memoryOf(t, s, name); !reflect.DeepEqual(got, store.Memory{Name: name, Turns: all, Chunks: chunktest.Split(all)}) {
			t.Fatalf("seed %d: the chunks differ", seed)
		}
	}
}

func appendSkipsAndRefuses(t *testing.T, p Place) {
	s := p.open(t)
	all := chunktest.History(20)
	for _, part := range [][]chunk.Turn{all[:8], all[:8], all[4:14], all[14:]} { // overlaps are skipped
		add(t, s, "a", part)
	}
	got := memoryOf(t, s, "a")
	if !reflect.DeepEqual(got, store.Memory{Name: "a", Turns: all, Chunks: chunktest.Split(all)}) {
		t.Fatalf("got %+v", got)
	}
	for name, bad := range map[string][]chunk.Turn{
		"there":   {{ID: "new", Text: "x"}, {ID: "t3", Text: "other"}},
		"of both": {{ID: "t3", Text: "x"}, {ID: "new", Text: "x"}},
		"twice":   {{ID: "new", Text: "x"}, {ID: "new", Text: "other"}},
	} {
		if _, err := s.Append(t.Context(), "a", bad, cutter, store.AddOptions{}); !errors.Is(err, store.ErrTurnExists) || !strings.Contains(err.Error(), "turn ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if again := memoryOf(t, s, "a"); !reflect.DeepEqual(again, got) {
		t.Error("a refused append changed the memory")
	}
	same := []chunk.Turn{{ID: "n", Session: "s", Text: "x"}, {ID: "n", Session: "s", Text: "x"}, {Session: "s", Text: "y"}, {Session: "s", Text: "y"}}
	for _, want := range []int{3, 2} { // turns without an id are never the same
		if n, err := s.Append(t.Context(), "b", same, cutter, store.AddOptions{}); err != nil || n != want {
			t.Errorf("%d added, want %d (%v)", n, want, err)
		}
	}
}

// Text, ids and names may hold any bytes, and come back as they were.
func anyBytes(t *testing.T, p Place) {
	s := p.open(t)
	var turns []chunk.Turn
	for i, text := range []string{"a zero \x00 byte", "no UTF-8: \xff\xfe\xc3(", "\ufdd0\u0141 a mark", "\ufdd0", "? $1 ?2 ' \" \\ %", "\\x00", "🪂 e\u0301 \U0010ffff", "line\nbreak\r\t\v", " "} {
		turns = append(turns, chunk.Turn{ID: fmt.Sprint(i, text), Session: "s" + text, Speaker: text, Time: text, Text: text + "."})
	}
	for _, name := range []string{"m", "\x00?\xff'\ufdd0"} {
		add(t, s, name, turns)
		if n, err := s.Append(t.Context(), name, turns, cutter, store.AddOptions{}); err != nil || n != 0 {
			t.Errorf("%q: %d turns were added again (%v)", name, n, err)
		}
		if got := memoryOf(t, p.open(t), name).Turns; !reflect.DeepEqual(got, turns) {
			t.Errorf("%q: got %q\nwant %q", name, got, turns)
		}
		for _, turn := range turns {
			if got, err := s.Turn(t.Context(), name, turn.ID); err != nil || got.Turn != turn {
				t.Errorf("turn %q: got %q (%v)", turn.ID, got.Turn, err)
			}
		}
	}
	e := embedtest.NewCounting("e\x00\xff?")
	if ix, err := s.ReadIndex(t.Context(), "m", e, true, -1, nil); err != nil || len(ix.Chunks) == 0 {
		t.Errorf("%d chunks (%v)", len(ix.Chunks), err)
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
	speaker := turns[1].Speaker
	if gone, err := s.Forget(t.Context(), store.Selection{Speaker: &speaker}); err != nil || gone.Turns != 2 {
		t.Errorf("forgotten %+v (%v)", gone, err)
	}
}

func pagesOfTurns(t *testing.T, p Place) {
	s := p.open(t)
	all := chunktest.History(23)
	add(t, s, "m", all)
	var got []chunk.Turn
	q := store.TurnQuery{Limit: 5}
	for pages := 1; ; pages++ {
		page, next, err := s.Turns(t.Context(), "m", q)
		if err != nil {
			t.Fatal(err)
		}
		for _, turn := range page {
			got = append(got, turn.Turn)
			if turn.Added.IsZero() {
				t.Errorf("%s was added at no time", turn.ID)
			}
		}
		if q.Cursor = next; next == "" {
			if pages != 5 {
				t.Errorf("%d pages", pages)
			}
			break
		}
	}
	if !reflect.DeepEqual(got, all) {
		t.Errorf("got %v", got)
	}
	if page, next, err := s.Turns(t.Context(), "m", store.TurnQuery{Session: "s1"}); err != nil || len(page) != 5 || next != "" {
		t.Errorf("a session: %d turns, %q, %v", len(page), next, err)
	}
	if page, _, err := s.Turns(t.Context(), "m", store.TurnQuery{Speaker: "Nobody"}); err != nil || len(page) != 0 || page == nil {
		t.Errorf("of nobody: %v, %v", page, err)
	}
	for _, bad := range []string{"x", "!!", "dC0x"} {
		if _, _, err := s.Turns(t.Context(), "m", store.TurnQuery{Cursor: bad}); !errors.Is(err, store.ErrCursor) {
			t.Errorf("cursor %q: %v", bad, err)
		}
	}
	info, err := s.Describe(t.Context(), "m")
	if err != nil || info.Turns != 23 || info.Sessions != 5 || info.Bytes < 23*20 || info.Created.IsZero() || info.Changed.IsZero() {
		t.Errorf("described as %+v (%v)", info, err)
	}
}

func whatIsNotThere(t *testing.T, p Place) {
	s := p.open(t)
	ctx, nobody := t.Context(), "Nobody"
	add(t, s, "m", chunktest.History(3))
	for name, tt := range map[string]struct{ got, want error }{
		"describe":              {second(s.Describe(ctx, "x")), store.ErrNoMemory},
		"turn of no memory":     {second(s.Turn(ctx, "x", "t1")), store.ErrNoMemory},
		"turn":                  {second(s.Turn(ctx, "m", "t9")), store.ErrNoTurn},
		"no id":                 {second(s.Turn(ctx, "m", "")), store.ErrNoTurn},
		"forget a turn":         {second(s.Forget(ctx, store.Selection{Memory: "m", Turns: []string{"t1", "t9"}})), store.ErrNoTurn},
		"forget nothing":        {second(s.Forget(ctx, store.Selection{Memory: "m"})), store.ErrNoTurn},
		"forget a speaker":      {second(s.Forget(ctx, store.Selection{Speaker: &nobody})), store.ErrNoTurn},
		"edit":                  {s.Edit(ctx, "m", chunk.Turn{ID: "t9", Text: "x"}, cutter), store.ErrNoTurn},
		"edit to other session": {s.Edit(ctx, "m", chunk.Turn{ID: "t1", Session: "s7", Text: "x"}, cutter), store.ErrSession},
		"expire":                {s.SetExpiry(ctx, "m", time.Now(), []string{"t9"}), store.ErrNoTurn},
		"embed":                 {s.Embed(ctx, "x", embedtest.NewCounting("e"), true, nil), store.ErrNoMemory},
		"rename":                {s.Rename(ctx, "x", "y"), store.ErrNoMemory},
		"rename to one there":   {s.Rename(ctx, "m", "m"), store.ErrMemoryExists},
	} {
		if !errors.Is(tt.got, tt.want) {
			t.Errorf("%s: got %v, want %v", name, tt.got, tt.want)
		}
	}
	if m := memoryOf(t, s, "m"); len(m.Turns) != 3 {
		t.Errorf("a refused change changed something: %v", m)
	}
}

func editions(t *testing.T, p Place) {
	s := p.open(t)
	all := chunktest.History(40)
	add(t, s, "talk:whole", all)
	add(t, s, "talk:part", all[20:])
	add(t, s, "other", all)
	now := slices.Clone(all[:30])
	now[3].Text = "Something else."
	got, err := s.Editions(t.Context(), "talk:", now)
	if err != nil || len(got) != 2 || got[0].Name != "talk:whole" || got[0].Kept < 0.6 || got[1].Kept > got[0].Kept {
		t.Errorf("editions %+v (%v)", got, err)
	}
	if err := s.Rename(t.Context(), "talk:part", "talk:new"); err != nil {
		t.Fatal(err)
	}
	if m := memoryOf(t, s, "talk:new"); len(m.Turns) != 20 {
		t.Errorf("%d turns under the new name", len(m.Turns))
	}
	if _, err := s.Memory(t.Context(), "talk:part"); !errors.Is(err, store.ErrNoMemory) {
		t.Errorf("under the old name: %v", err)
	}
}

// The generation of a memory rises with each change and with nothing else.
func generationsCountChanges(t *testing.T, p Place) {
	s := p.open(t)
	add(t, s, "other", chunktest.History(1))
	add(t, s, "m", chunktest.History(5))
	last, err := s.Generation(t.Context(), "m")
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name    string
		do      func() error
		changes bool
	}{
		{"the same again", func() error { add(t, s, "m", chunktest.History(5)); return nil }, false},
		{"more", func() error { add(t, s, "m", chunktest.History(9)); return nil }, true},
		{"another memory", func() error { add(t, s, "other", chunktest.History(3)); return nil }, false},
		{"vectors", func() error { return s.Embed(t.Context(), "m", embedtest.NewCounting("e"), true, nil) }, false},
		{"edit", func() error {
			return s.Edit(t.Context(), "m", chunk.Turn{ID: "t1", Speaker: "Ann", Text: "New."}, cutter)
		}, true},
		{"forget", func() error {
			return second(s.Forget(t.Context(), store.Selection{Memory: "m", Turns: []string{"t1"}}))
		}, true},
		{"expiry to come", func() error { return s.SetExpiry(t.Context(), "m", time.Now().Add(time.Hour), nil) }, false},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		now, err := s.Generation(t.Context(), "m")
		if err != nil || now < last || (now > last) != step.changes {
			t.Errorf("%s: generation %d after %d (%v)", step.name, now, last, err)
		}
		last = now
	}
}
