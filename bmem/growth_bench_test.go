package bmem

import (
	"context"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/bmem/chunk"
)

// hashed stands for an embedder where only the number and width of vectors matter: 384 numbers from a hash of the text.
type hashed struct{}

func (hashed) ID() string            { return "hashed-384" }
func (hashed) Dim() int              { return 384 }
func (hashed) Count(text string) int { return len(text) / 4 }
func (h hashed) Embed(_ context.Context, texts []string) ([][]float32, error) {
	out := make([][]float32, len(texts))
	for i, text := range texts {
		f := fnv.New64a()
		f.Write([]byte(text))
		x := f.Sum64() | 1
		v, sum := make([]float32, h.Dim()), 0.0
		for j := range v {
			x ^= x << 13
			x ^= x >> 7
			x ^= x << 17
			v[j] = float32(int16(x)) / math.MaxInt16
			sum += float64(v[j]) * float64(v[j])
		}
		for j := range v {
			v[j] /= float32(math.Sqrt(sum))
		}
		out[i] = v
	}
	return out, nil
}

// chatter makes turns of everyday length over a vocabulary with few frequent and many rare words.
func chatter(from, n int) []chunk.Turn {
	rng := rand.New(rand.NewPCG(7, uint64(from)))
	zipf := rand.NewZipf(rng, 1.2, 8, 30_000)
	turns := make([]chunk.Turn, n)
	for i := range turns {
		at := from + i
		words := make([]string, 8+rng.IntN(24))
		for j := range words {
			words[j] = "word" + strconv.FormatUint(zipf.Uint64(), 36)
		}
		turns[i] = chunk.Turn{ID: strconv.Itoa(at), Session: "s" + strconv.Itoa(at/40), Time: time.Date(2020, 1, 1+at/400, 0, 0, 0, 0, time.UTC).Format("2 January 2006"),
			Speaker: []string{"Ann", "Bo"}[at%2], Text: "We spoke of " + strings.Join(words, " ") + "."}
	}
	return turns
}

// median runs f some times and returns the middle of their times.
func median(b *testing.B, runs int, f func(i int) error) time.Duration {
	times := make([]time.Duration, runs)
	for i := range times {
		start := time.Now()
		if err := f(i); err != nil {
			b.Fatal(err)
		}
		times[i] = time.Since(start)
	}
	slices.Sort(times)
	return times[runs/2]
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkGrowth prints what memories of several sizes cost. $BENCH_GROWTH names the sizes. The vectors are made from hashes: the
// model would take hours for the largest, and takes the same time for a turn at every size.
func BenchmarkGrowth(b *testing.B) {
	sizes := os.Getenv("BENCH_GROWTH")
	if sizes == "" {
		sizes = "1000,10000"
	}
	fmt.Println("vectors are made from hashes of the texts, not by a model; embedding is left out of all times")
	fmt.Println("   turns   add all/turn    add one   first open       ask    forget one   memory/turn   file/turn")
	for s := range strings.SplitSeq(sizes, ",") {
		n, err := strconv.Atoi(s)
		if err != nil {
			b.Fatalf("$BENCH_GROWTH: %v", err)
		}
		growth(b, n)
	}
}

func growth(b *testing.B, n int) {
	ctx := b.Context()
	path := filepath.Join(b.TempDir(), "memory.db")
	open := func() *Memory {
		m, err := Open(ctx, Options{Path: path, Embedder: hashed{}, Tokenizer: hashed{}, Client: echo, Tiers: fakes(nil)})
		if err != nil {
			b.Fatal(err)
		}
		return m
	}
	m := open()
	start := time.Now()
	const batch = 1000
	for from := 0; from < n; from += batch {
		if _, err := m.Add(ctx, "talk", chatter(from, min(batch, n-from))); err != nil {
			b.Fatal(err)
		}
	}
	all := time.Since(start)
	one := median(b, 21, func(i int) error {
		_, err := m.Add(ctx, "talk", chatter(n+i, 1))
		return err
	})
	if err := m.Close(); err != nil {
		b.Fatal(err)
	}
	m = open()
	defer m.Close()
	before := heap()
	start = time.Now()
	if _, err := m.Retrieve(ctx, "Where?", WithMemory("talk")); err != nil {
		b.Fatal(err)
	}
	first := time.Since(start)
	used := int64(heap()) - int64(before)
	ask := median(b, 21, func(i int) error {
		question := chatter(n/2+i*7, 1)[0].Text
		_, err := m.Retrieve(ctx, "What of "+question[12:min(len(question), 70)]+"?", WithMemory("talk"))
		return err
	})
	info, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	forget := median(b, 3, func(i int) error {
		_, err := m.ForgetTurns(ctx, "talk", strconv.Itoa(n/3+i))
		return err
	})
	fmt.Printf("%8d %11.2f ms %7.1f ms %9.0f ms %6.1f ms %10.0f ms %10.0f B %9.0f B\n", n, ms(all)/float64(n), ms(one), ms(first), ms(ask), ms(forget),
		float64(used)/float64(n), float64(info.Size())/float64(n))
	runtime.KeepAlive(m)
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
