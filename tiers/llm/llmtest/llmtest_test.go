package llmtest

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/tiers/llm"
)

// Which fault a call meets must not depend on when it comes, or runs could not be compared.
func TestMixedDependsOnTheCallAlone(t *testing.T) {
	script := Mixed(5, 0.3)
	call := func(i, n, repeat int) Call {
		return Call{N: n, Repeat: repeat, Messages: []llm.Message{{Role: llm.User, Content: fmt.Sprint("q", i)}}}
	}
	kinds := map[Kind]int{}
	faults, again := 0, 0
	const n = 4000
	for i := range n {
		f := script(call(i, i, 0))
		if f != script(call(i, n-i, 0)) {
			t.Fatalf("call %d meets another fault when it comes at another time", i)
		}
		kinds[f.Kind]++
		if f.Kind != None {
			faults++
			if script(call(i, i, 1)).Kind != None {
				again++
			}
		}
	}
	// Four standard deviations of a binomial around 30 %.
	if faults < 1084 || faults > 1316 || again < faults*22/100 || again > faults*38/100 || len(kinds) != 8 {
		t.Errorf("%d of %d calls fail, %d of these again, kinds %v", faults, n, again, kinds)
	}
}

// What is billed is what the model worked for.
func TestBilled(t *testing.T) {
	for _, tt := range []struct {
		kind    Kind
		in, out int
	}{{None, 2, 1}, {Status, 0, 0}, {Garbage, 0, 0}, {Reset, 0, 0}, {Cut, 2, 1}, {Empty, 2, 0}} {
		s := New(Config{Script: Always(Fault{Kind: tt.kind})})
		resp, err := http.Post(s.URL()+"/chat/completions", "application/json",
			strings.NewReader(`{"model":"m","messages":[{"role":"user","content":"two words"}]}`))
		if err == nil {
			resp.Body.Close()
		}
		if in, out := s.Billed(); in != tt.in || out != tt.out || s.Count() != 1 || s.Calls()[0].Model != "m" {
			t.Errorf("%q: billed %d and %d tokens, want %d and %d", tt.kind, in, out, tt.in, tt.out)
		}
		s.Close()
	}
}

func ExampleNew() {
	s := New(Config{
		Reply:  func(c Call) string { return "you said: " + c.Messages[0].Content },
		Script: Sequence(Fault{Kind: Status, Status: 503, RetryAfter: "1"}),
	})
	defer s.Close()
	for range 2 {
		resp, err := http.Post(s.URL()+"/chat/completions", "application/json",
			strings.NewReader(`{"messages":[{"role":"user","content":"hello"}]}`))
		if err != nil {
			fmt.Println(err)
			return
		}
		resp.Body.Close()
		fmt.Printf("%d, Retry-After %q\n", resp.StatusCode, resp.Header.Get("Retry-After"))
	}
	fmt.Println(s.Count(), "calls")
	// Output:
	// 503, Retry-After "1"
	// 200, Retry-After ""
	// 2 calls
}
