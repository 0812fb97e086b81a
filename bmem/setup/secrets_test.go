package setup_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/budgetmem/budgetmem/bmem/setup"
	"github.com/budgetmem/budgetmem/tiers/llm"
)

// A setting that may hold a key goes to one origin, or the models are not opened. A setting that holds none goes to all.
func TestSecretSettingsGoToOneOrigin(t *testing.T) {
	t.Setenv("SETUP_TEST_KEY", "hdr-secret-123")
	var mu sync.Mutex
	seen := map[string]int{}
	server := func() string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			if strings.Contains(r.Header.Get("api-key")+r.URL.RawQuery, "hdr-secret-123") {
				seen[r.Host]++
			}
			if r.Header.Get("X-Title") != "notes" {
				t.Errorf("%s: no title", r.Host)
			}
			http.Error(w, "no", http.StatusForbidden)
		}))
		t.Cleanup(s.Close)
		return s.URL + "/v1"
	}
	one, other := server(), server()
	parse := func(file string, set ...string) llm.Models {
		m := llm.Models{}
		var err error
		if file != "" {
			if m, err = llm.ParseModels("f.yaml", []byte("models:\n"+file)); err != nil {
				t.Fatal(err)
			}
		}
		for _, s := range append(set, "headers.X-Title=notes") {
			if m, err = m.Set(s); err != nil {
				t.Fatal(err)
			}
		}
		return m
	}
	roles := map[string]string{"small": "llama-3.1-8b@" + other}
	for name, c := range map[string]struct {
		spec setup.Spec
		want string // of the error; "" for one that comes from the endpoint alone
	}{
		"a header for all":              {setup.Spec{Models: parse("", "headers.api-key=$SETUP_TEST_KEY"), Roles: roles}, "headers.api-key, set for all models"},
		"a header with another name":    {setup.Spec{Models: parse("", "headers.X-A=${SETUP_TEST_KEY}"), Roles: roles}, "headers.X-A, set for all models"},
		"a key as text":                 {setup.Spec{Models: parse("", "headers.Authorization=Bearer abc"), Roles: roles}, "headers.Authorization"},
		"a query value":                 {setup.Spec{Models: parse("", "query.key=abc"), Roles: roles}, "query.key"},
		"a parameter":                   {setup.Spec{Models: parse("", "parameters.api_key=abc"), Roles: roles}, "parameters.api_key"},
		"in a file, for all":            {setup.Spec{Models: parse("- {model: \"*\", headers: {api-key: $SETUP_TEST_KEY}}"), Roles: roles}, `in the entry "*"`},
		"keys in a file, for all":       {setup.Spec{Models: parse("- {model: \"*\", api_key_env: [SETUP_TEST_KEY]}"), Roles: map[string]string{"small": "a@" + one, "large": "b@" + other}}, "api_key_env"},
		"a fallback":                    {setup.Spec{Models: parse("", "query.key=abc"), Fallback: []string{"llama-3.1-8b@" + other}}, "query.key"},
		"the embedder":                  {setup.Spec{Models: parse("", "query.key=abc"), Embedder: "e@" + other}, "query.key"},
		"a judge":                       {setup.Spec{Models: parse("", "query.key=abc"), Later: []string{"llama-3.1-8b@" + other}}, "query.key"},
		"two endpoints of one model":    {setup.Spec{Models: parse("", "query.key=abc"), Endpoints: []string{one, other}}, "query.key"},
		"one model at two":              {setup.Spec{Models: parse("- {model: m, headers: {api-key: $SETUP_TEST_KEY}}"), Model: "m", Roles: map[string]string{"small": "m@" + other}}, `in the entry "m"`},
		"no secret":                     {setup.Spec{Models: parse("", "query.api-version=2"), Embedder: "llama-3.1-8b@" + other}, ""},
		"one origin, two paths":         {setup.Spec{Models: parse("", "query.api-version=2", "headers.api-key=$SETUP_TEST_KEY"), Embedder: "llama-3.1-8b@" + strings.TrimSuffix(one, "/v1") + "/v2"}, ""},
		"in the entry of one":           {setup.Spec{Models: parse("- {model: llama-3.1-8b@" + one + ", headers: {api-key: $SETUP_TEST_KEY}, query: {key: $SETUP_TEST_KEY}}"), Embedder: "llama-3.1-8b@" + one, Endpoints: []string{other}}, ""},
		"an entry of one goes before *": {setup.Spec{Models: parse("- {model: \"*\", query: {key: x}}\n- {model: llama-3.1-8b@" + other + ", query: {key: y}}"), Embedder: "llama-3.1-8b@" + other}, ""},
	} {
		spec := c.spec
		spec.CacheDir = t.TempDir()
		if spec.Endpoints == nil {
			spec.Endpoints = []string{one}
		}
		if spec.Roles != nil {
			spec.Tiers = "capacity"
		}
		spec.AllowUnpriced = true
		_, err := open(context.Background(), spec)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "may hold a key") != (c.want != "") || strings.Contains(err.Error(), "hdr-secret") {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
	}
	hostOf := strings.TrimSuffix(strings.TrimPrefix(one, "http://"), "/v1")
	if len(seen) != 1 || seen[hostOf] == 0 {
		t.Errorf("the key was sent to %v, want %s alone", seen, hostOf)
	}
}
