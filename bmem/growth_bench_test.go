//go:build unix

package bmem

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"io"
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

	"github.com/jackc/pgx/v5"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/bmem/store/postgres"
	"github.com/budgetmem/budgetmem/internal/pgtest"
	"github.com/budgetmem/budgetmem/internal/testenv"
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

// spent is how long something took, and the processor time that the process used meanwhile.
type spent struct{ wall, cpu time.Duration }

// timed measures f.
func timed(b *testing.B, f func() error) spent {
	b.Helper()
	start, used := time.Now(), testenv.ProcessorTime(b)
	if err := f(); err != nil {
		b.Fatal(err)
	}
	return spent{time.Since(start), testenv.ProcessorTime(b) - used}
}

// median measures f some times and returns the middle of the times.
func median(b *testing.B, runs int, f func(i int) error) spent {
	b.Helper()
	var wall, cpu []time.Duration
	for i := range runs {
		s := timed(b, func() error { return f(i) })
		wall, cpu = append(wall, s.wall), append(cpu, s.cpu)
	}
	slices.Sort(wall)
	slices.Sort(cpu)
	return spent{wall[runs/2], cpu[runs/2]}
}

func (s spent) per(n int) spent { return spent{s.wall / time.Duration(n), s.cpu / time.Duration(n)} }

// String writes both times in milliseconds.
func (s spent) String() string { return fmt.Sprintf("%.2f / %.2f", ms(s.wall), ms(s.cpu)) }

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// openGrowth opens the memory in a file.
func openGrowth(b *testing.B, path string) *Memory {
	m, err := Open(b.Context(), Options{Path: path, Embedder: hashed{}, Tokenizer: hashed{}, Client: echo, Tiers: fakes(nil)})
	if err != nil {
		b.Fatal(err)
	}
	return m
}

// sizes reads a list of numbers of turns from an environment variable.
func sizes(b *testing.B, name, otherwise string) []int {
	var list []int
	for s := range strings.SplitSeq(cmp.Or(os.Getenv(name), otherwise), ",") {
		n, err := strconv.Atoi(s)
		if err != nil || n < 100 {
			b.Fatalf("$%s: %q is no number of turns, 100 at least", name, s)
		}
		list = append(list, n)
	}
	return list
}

const about = `Times are milliseconds of the wall clock / of all processors together. Other programs lengthen the first. Vectors of 384 numbers are
made from hashes of the texts, since the model would take hours: embedding is in none of the times.`

// BenchmarkGrowth prints what memories of several sizes cost. $BENCH_GROWTH names the sizes. The model takes the same time for a
// turn at every size.
func BenchmarkGrowth(b *testing.B) {
	fmt.Printf("\n%s\n%d processors. Memory is what the Go heap grows by when the memory is opened; SQLite's pages, up to 16 MB a connection, come to it.\n\n",
		about, runtime.GOMAXPROCS(0))
	fmt.Println("|   turns | add, 1,000 at once, a turn | add one turn | open and first question | question | forget one turn | memory, a turn | file, a turn |")
	fmt.Println("|--------:|---------------------------:|-------------:|------------------------:|---------:|----------------:|---------------:|-------------:|")
	growth(b, 1, io.Discard) // what every process needs once, such as lists of words, is no part of a memory
	for _, n := range sizes(b, "BENCH_GROWTH", "1000,10000") {
		growth(b, n, os.Stdout)
	}
}

func growth(b *testing.B, n int, w io.Writer) {
	ctx := b.Context()
	path := filepath.Join(b.TempDir(), "memory.db")
	m := openGrowth(b, path)
	all := timed(b, func() error {
		const batch = 1000
		for from := 0; from < n; from += batch {
			if _, err := m.Add(ctx, "talk", chatter(from, min(batch, n-from))); err != nil {
				return err
			}
		}
		return nil
	})
	one := median(b, 21, func(i int) error {
		_, err := m.Add(ctx, "talk", chatter(n+i, 1))
		return err
	})
	if err := m.Close(); err != nil {
		b.Fatal(err)
	}
	m = openGrowth(b, path)
	defer m.Close()
	before := heap()
	first := timed(b, func() error {
		_, err := m.Retrieve(ctx, "Where?", WithMemory("talk"))
		return err
	})
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
	fmt.Fprintf(w, "| %7d | %26v | %12v | %23v | %8v | %15v | %12d B | %10d B |\n", n, all.per(n), one, first, ask, forget, used/int64(n), info.Size()/int64(n))
	runtime.KeepAlive(m)
}

// BenchmarkOneByOne adds turns one by one and prints what a turn took in each tenth of them. $BENCH_ONE_BY_ONE says how many.
func BenchmarkOneByOne(b *testing.B) {
	for _, n := range sizes(b, "BENCH_ONE_BY_ONE", "5000") {
		fmt.Printf("\n%s\n\n%d turns added one by one:\n\n| tenth | a turn |\n|------:|-------:|\n", about, n)
		m := openGrowth(b, filepath.Join(b.TempDir(), "memory.db"))
		turns := chatter(0, n)
		var tenths []spent
		for i := range 10 {
			part := turns[i*n/10 : (i+1)*n/10]
			s := timed(b, func() error {
				for _, t := range part {
					if _, err := m.Add(b.Context(), "talk", []chunk.Turn{t}); err != nil {
						return err
					}
				}
				return nil
			}).per(len(part))
			tenths = append(tenths, s)
			fmt.Printf("| %5d | %v |\n", i+1, s)
		}
		fmt.Printf("\nThe last tenth took %.2f times the processor time of the first.\n", float64(tenths[9].cpu)/float64(tenths[0].cpu))
		if err := m.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPostgresSize prints what turns take in a PostgreSQL server with pgvector, indices included: 10 memories of 1,000 turns.
func BenchmarkPostgresSize(b *testing.B) {
	server, schema := pgtest.Own(b), pgtest.Schema()
	s, err := postgres.Open(b.Context(), server.URL(schema))
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	m, err := Open(b.Context(), Options{Store: s, Embedder: hashed{}, Tokenizer: hashed{}, Client: echo, Tiers: fakes(nil)})
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	const memories, each = 10, 1000
	add := timed(b, func() error {
		for i := range memories {
			if _, err := m.Add(b.Context(), strconv.Itoa(i), chatter(i*each, each)); err != nil {
				return err
			}
		}
		return nil
	})
	first := timed(b, func() error {
		for i := range memories { // the first question of a memory computes its vectors
			if _, err := m.Retrieve(b.Context(), "Where?", WithMemory(strconv.Itoa(i))); err != nil {
				return err
			}
		}
		return nil
	})
	conn, err := pgx.Connect(b.Context(), server.URL(schema))
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close(b.Context())
	var size int64
	if err := conn.QueryRow(b.Context(), `SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = $1 AND c.relkind = 'r'`, schema).Scan(&size); err != nil {
		b.Fatal(err)
	}
	fmt.Printf("\nPostgreSQL: %d B a turn with indices; adding a turn took %v ms and opening a memory %v ms, wall clock / this process's processors.\n",
		size/(memories*each), add.per(memories*each), first.per(memories))
}
