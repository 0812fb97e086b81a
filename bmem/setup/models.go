package setup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/budgetmem/budgetmem/tiers"
	"github.com/budgetmem/budgetmem/tiers/llm"
)

// Model is a language model with prices, spend limit, retries and cache around it.
type Model struct {
	llm.Client
	Price llm.Price
	// Local says whether it runs on this machine.
	Local bool
	// Fallback are the models that answer where its endpoints fail.
	Fallback []Model
}

// roles are the models of the roles that the shipped tier sets name: on this machine, and at endpoints, where they are
// those of the BudgetMem paper.
var roles = map[string]struct{ local, endpoint string }{
	"small":  {"smollm2-135m-instruct", "meta-llama/Llama-3.2-3B-Instruct"},
	"medium": {"qwen2.5-coder-0.5b-instruct", "meta-llama/Llama-3.1-8B-Instruct"},
	"large":  {"qwen2.5-coder-1.5b-instruct", "meta-llama/Llama-3.3-70B-Instruct"},
}

// defaultRole is the model of a role that Spec.Roles does not name; "" if there is none.
func (s Spec) defaultRole(role string) string {
	if len(s.Endpoints) > 0 {
		return roles[role].endpoint
	}
	return roles[role].local
}

// checkRoles finds roles that nobody fills or nobody asks for.
func (s Spec) checkRoles(set tiers.Spec) error {
	var errs []error
	wanted := map[string]bool{}
	for _, role := range set.Models() {
		wanted[role] = true
		if s.Roles[role] == "" && s.defaultRole(role) == "" {
			errs = append(errs, fmt.Errorf("tier set %s needs a model in the role %q, and none is named", set.Name, role))
		}
	}
	for role := range s.Roles {
		if !wanted[role] {
			errs = append(errs, fmt.Errorf("tier set %s has no role %q; its roles are [%s]", set.Name, role, strings.Join(set.Models(), ", ")))
		}
	}
	return errors.Join(errs...)
}

// OpenModel opens a model beside those that the System has: to judge answers, say. What it names is
//
//	NAME        a model of the catalogue, or, where the System has endpoints, the name by which these know it
//	FILE.gguf   a file on this machine
//	FOLDER      a reranker that `bmem tune reranker` trained
//	NAME@URL    a model at the endpoint of that base URL
//	(nothing)   the best of the catalogue that is there
//
// Behind the first two may stand "+" and the folder of an adapter that bmem tune made, or its name in the folder adapters of the
// working directory or beside the models.
//
// A model that is open already is not opened again. The System closes them all. Errors: llm.ErrUnpriced, models.ErrMissing.
func (sys *System) OpenModel(ctx context.Context, name string) (Model, error) {
	w, err := sys.find(ctx, name)
	if err != nil {
		return Model{}, err
	}
	if m, ok := sys.opened[w]; ok {
		return m, nil
	}
	others := sys.spec.fallbacks(name)
	m, err := sys.stack(ctx, w, len(others) == 0)
	if err != nil {
		return Model{}, err
	}
	chain := []llm.Client{m.Client}
	for i, other := range others {
		w, err := sys.find(ctx, other)
		if err != nil {
			return Model{}, fmt.Errorf("fallback of %s: %w", m.Client.Model(), err)
		}
		o, err := sys.stack(ctx, w, i == len(others)-1)
		if err != nil {
			return Model{}, fmt.Errorf("fallback of %s: %w", m.Client.Model(), err)
		}
		chain, m.Fallback = append(chain, o.Client), append(m.Fallback, o)
	}
	if len(chain) > 1 {
		m.Client = llm.Fallback(sys.spec.Warn, chain...)
	}
	sys.opened[w] = m
	return m, nil
}

// stack opens a model with prices, spend limit, retries and cache around it, and nothing that answers in its place. Only one that is the
// last to be asked is asked for long.
func (sys *System) stack(ctx context.Context, w whereabouts, last bool) (Model, error) {
	base, err := sys.base(ctx, w)
	if err != nil {
		return Model{}, err
	}
	options := sys.stackOptions(w)
	if !last {
		options.Retry = llm.Retry{Attempts: 3, MaxRetryAfter: 5 * time.Second}
	}
	m := Model{Local: w.path != ""}
	if m.Price, err = options.Prices.Price(base.Model()); err != nil {
		return Model{}, err
	}
	m.Client, err = llm.Stack(base, options)
	return m, err
}

// whereabouts says where a model is: in a file on this machine, or else at an endpoint, at all of Spec's if none is named.
type whereabouts struct {
	name, path, endpoint string
	adapter              string // its folder; "" for none
}

func (sys *System) find(ctx context.Context, name string) (whereabouts, error) {
	if model, url, ok := cutEndpoint(name); ok {
		return whereabouts{name: model, endpoint: url}, nil
	}
	if info, err := os.Stat(filepath.Join(name, modelConfig)); name != "" && err == nil && info.Mode().IsRegular() {
		return whereabouts{name: filepath.Clean(name), path: filepath.Clean(name)}, nil
	}
	if len(sys.spec.Endpoints) > 0 {
		return whereabouts{name: name}, nil
	}
	m, err := sys.catalogue.Locate(ctx, name)
	if m.Why != "" {
		sys.Chosen = m.Why
	}
	return whereabouts{name: m.Name, path: m.Path, adapter: m.Adapter}, err
}

// modelConfig is the file that a folder with a model in Hugging Face's form has.
const modelConfig = "config.json"

// cutEndpoint splits NAME@URL.
func cutEndpoint(s string) (name, url string, ok bool) {
	i := strings.LastIndex(s, "@http")
	if i <= 0 {
		return "", "", false
	}
	return s[:i], s[i+1:], true
}

// openMoney opens what all models share: prices, spend limit and the cache of replies.
func (sys *System) openMoney(ctx context.Context, cacheFile string) error {
	s := sys.spec
	sys.prices = llm.DefaultPrices()
	var err error
	if s.Prices != "" {
		if sys.prices, err = llm.LoadPrices(s.Prices); err != nil {
			return err
		}
	}
	if sys.cache, err = llm.OpenCache(cacheFile); err != nil {
		return err
	}
	sys.closers.Add(sys.cache.Close)
	if s.Replies != nil {
		sys.cache.Share(s.Replies)
	}
	if s.MaxDollars <= 0 && s.Allowance == nil {
		return nil
	}
	if s.LedgerFile != "" {
		sys.Ledger, err = llm.OpenLedger(s.LedgerFile, s.MaxDollars)
	} else {
		sys.Ledger, err = llm.NewLedger(s.MaxDollars)
	}
	if err != nil {
		return err
	}
	sys.closers.Add(func() error {
		sys.noteUncertain()
		return sys.Ledger.Close()
	})
	if s.Allowance != nil {
		return sys.Ledger.Share(ctx, s.Allowance)
	}
	return nil
}

// noteUncertain says what may have been billed beyond what is known to be.
func (sys *System) noteUncertain() {
	if b := sys.Ledger.Balance(); b.Uncertain > 0 && sys.spec.Warn != nil {
		sys.spec.Warn(fmt.Sprintf("$%.6f are spent, and up to $%.6f more may be: for calls that failed or were cancelled after they were sent. Both count against the limit", b.Spent, b.Uncertain))
	}
}
