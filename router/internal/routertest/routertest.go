// Package routertest has what the tests of routers share: backends, and a task whose best policy is known. It does not
// import package router, so that tests inside that package can use it.
package routertest

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/budgetmem/budgetmem/internal/backend"
	"github.com/budgetmem/budgetmem/internal/testenv"
	"github.com/budgetmem/budgetmem/router/portable"
)

// Open returns the pure-Go backend, which is always available.
func Open(t testing.TB) *backend.Backend {
	t.Helper()
	be, err := backend.Open("go", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(be.Finalize)
	return be
}

// Engines returns the available backends: pure Go, and XLA on the CPU if its plugin is installed.
func Engines(t testing.TB) []*backend.Backend {
	t.Helper()
	all := []*backend.Backend{Open(t)}
	be, err := backend.Open("xla:cpu", nil)
	if err != nil {
		testenv.Partly(t, err)
		return all
	}
	t.Cleanup(be.Finalize)
	return append(all, be)
}

// Modules are five modules like those of the memory pipeline; temporal has only two tiers.
func Modules() []portable.Module {
	low := []string{"low", "mid", "high"}
	return []portable.Module{{Name: "filter", Tiers: low}, {Name: "entity", Tiers: low}, {Name: "temporal", Tiers: []string{"low", "high"}},
		{Name: "topic", Tiers: low}, {Name: "summary", Tiers: low}}
}

// Inputs maps each of Modules to the memory embedding that it is decided on.
func Inputs() []int { return []int{0, 1, 1, 1, 2} }

// Signals are what the sixth module of a task with an answer is decided on: how sure a thing is, and one that tells nothing.
func Signals() []portable.Signal {
	return []portable.Signal{{Name: "sure", Scale: 2}, {Name: "idle", Scale: 30}}
}

// Vector draws a unit vector [n].
func Vector(rng *rand.Rand, n int) []float32 {
	v := make([]float32, n)
	var sum float64
	for i := range v {
		x := rng.NormFloat64()
		v[i] = float32(x)
		sum += x * x
	}
	for i := range v {
		v[i] /= float32(math.Sqrt(sum))
	}
	return v
}

const numClusters = 4

// Clusters is a task with a known best policy. Each question belongs to a cluster, and so does each of its memories; both
// show in the embeddings. What a tier of a module earns depends on the cluster that the module sees. Each tier costs four
// times as much as the one below it.
type Clusters struct {
	Dim     int
	Seed    uint64
	N       int // questions
	Centres [][]float32
	Gain    [][][]float64 // [module][cluster][tier] → score
	// Answer says whether there is a sixth module, whose tiers earn by its signals.
	Answer bool
}

// Modules are those of the task.
func (c *Clusters) Modules() []portable.Module {
	if !c.Answer {
		return Modules()
	}
	return append(Modules(), portable.Module{Name: "answer", Tiers: []string{"low", "mid", "high"}})
}

// Inputs maps each of the task's modules to the memory embedding that it is decided on.
func (c *Clusters) Inputs() []int {
	if !c.Answer {
		return Inputs()
	}
	return append(Inputs(), 3)
}

// NewClusters draws a task of questions with embeddings of width dim.
func NewClusters(dim, questions int, seed uint64) *Clusters {
	return newClusters(&Clusters{Dim: dim, Seed: seed, N: questions})
}

// NewAnswers draws the same task with a sixth module, whose best tier depends on a signal: whether it is unknown, low or high.
func NewAnswers(dim, questions int, seed uint64) *Clusters {
	return newClusters(&Clusters{Dim: dim, Seed: seed, N: questions, Answer: true})
}

func newClusters(c *Clusters) *Clusters {
	rng := rand.New(rand.NewPCG(c.Seed, 9))
	for range numClusters {
		c.Centres = append(c.Centres, Vector(rng, c.Dim))
	}
	for _, m := range Modules() {
		gain := make([][]float64, numClusters)
		for k := range gain {
			gain[k] = make([]float64, len(m.Tiers))
			gain[k][rng.IntN(len(m.Tiers))] = 0.2 // one tier earns, the others nothing
		}
		c.Gain = append(c.Gain, gain)
	}
	if c.Answer {
		c.Gain = append(c.Gain, [][]float64{{0, 0, 0.2}, {0, 0.2, 0}, {0.2, 0, 0}})
	}
	return c
}

// Signals returns what the signals of a question tell, and their number in Gain: 0 if it is unknown how sure it is, 1 if it is not
// very, 2 if it is.
func (c *Clusters) Signals(question int) (of int, signals map[string]float64) {
	rng := rand.New(rand.NewPCG(c.Seed+uint64(question), 2000))
	of, signals = rng.IntN(3), map[string]float64{"idle": 30 * rng.Float64()}
	if of > 0 {
		signals["sure"] = float64(2*of) + 0.5*rng.NormFloat64()
	}
	return of, signals
}

// Len is the number of questions.
func (c *Clusters) Len() int { return c.N }

// Query returns a question's cluster and embedding.
func (c *Clusters) Query(question int) (cluster int, query []float32) {
	rng := rand.New(rand.NewPCG(c.Seed+uint64(question), 1000))
	cluster = rng.IntN(numClusters)
	return cluster, c.near(rng, cluster)
}

// Memory returns the cluster and the embedding of one of a question's memories, by its number in Inputs. The last one
// depends on the first module's choice, as a summary depends on the filter.
func (c *Clusters) Memory(question, input, first int) (cluster int, memory []float32) {
	if input < 2 {
		first = 0
	}
	rng := rand.New(rand.NewPCG(c.Seed+uint64(question), uint64(10*input+first)))
	cluster = rng.IntN(numClusters)
	return cluster, c.near(rng, cluster)
}

func (c *Clusters) near(rng *rand.Rand, cluster int) []float32 {
	v := Vector(rng, c.Dim)
	for i := range v {
		v[i] = c.Centres[cluster][i] + 0.3*v[i]
	}
	return v
}

// Play decides a question's modules one after the other and returns the choices. Signals are nil but for the answer.
func (c *Clusters) Play(question int, decide func(module int, query, memory []float32, signals map[string]float64) (int, error)) ([]int, error) {
	inputs := c.Inputs()
	choices := make([]int, len(inputs))
	_, query := c.Query(question)
	for m, input := range inputs {
		_, memory := c.Memory(question, input, choices[0])
		var signals map[string]float64
		if m == answer {
			_, signals = c.Signals(question)
		}
		t, err := decide(m, query, memory, signals)
		if err != nil {
			return nil, err
		}
		choices[m] = t
	}
	return choices, nil
}

// Outcome returns the score and the dollars of choices for a question.
func (c *Clusters) Outcome(question int, choices []int) (score, dollars float64) {
	dollars = 1e-4
	for m, t := range choices {
		score += c.Gain[m][c.sees(question, m, choices[0])][t]
		dollars += []float64{1e-4, 4e-4, 16e-4}[t]
	}
	return score, dollars
}

// answer is the number of the sixth module.
const answer = 5

// sees is the cluster that decides what module m earns: the memory's for the first and the last module, else the query's.
func (c *Clusters) sees(question, m, first int) int {
	if m == answer {
		of, _ := c.Signals(question)
		return of
	}
	cluster, _ := c.Query(question)
	if inputs := Inputs(); m == 0 || m == len(inputs)-1 {
		cluster, _ = c.Memory(question, inputs[m], first)
	}
	return cluster
}

// Best returns the mean over the questions of the largest value that a combination has, and the largest mean value of one
// combination for all questions.
func (c *Clusters) Best(combinations [][]int, value func(score, dollars float64) float64) (oracle, static float64) {
	totals := make([]float64, len(combinations))
	for q := range c.N {
		best := math.Inf(-1)
		for i, choices := range combinations {
			v := value(c.Outcome(q, choices))
			best = max(best, v)
			totals[i] += v
		}
		oracle += best / float64(c.N)
	}
	static = math.Inf(-1)
	for _, total := range totals {
		static = max(static, total/float64(c.N))
	}
	return oracle, static
}
