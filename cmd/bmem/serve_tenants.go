package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/budgetmem/budgetmem/bmem/setup"
	"github.com/budgetmem/budgetmem/internal/closers"
	"github.com/budgetmem/budgetmem/internal/private"
	"github.com/budgetmem/budgetmem/serve/tenant"
	"github.com/budgetmem/budgetmem/tiers/llm"
)

// auditFile is the usual name of the audit log, in the cache folder.
const auditFile = "audit.jsonl"

// openTenants opens the ledger of spending, the tenants and the audit log. Without --memories and --tenants there are none. Closing
// what it returns closes them.
func (f *serveFlags) openTenants() (_ *closers.Stack, err error) {
	l := &closers.Stack{}
	if !f.withMemories && f.tenants == "" {
		if f.audit != "" {
			return nil, errors.New("--audit is about memories: add --memories")
		}
		return l, nil
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
		}
	}()
	dir, err := setup.CacheDir(f.cache)
	if err != nil {
		return nil, err
	}
	ledger, err := tenant.OpenLedger(filepath.Join(dir, tenant.LedgerFile))
	switch {
	case err == nil:
		l.Add(ledger.Close)
	case f.tenants == "": // no limit depends on it; on a disk that can only be read memories can be asked all the same
		f.config.Log.Warn("what is spent is not written down", "why", err)
	default:
		return nil, err
	}
	f.config.Tenants = tenant.None(ledger)
	if f.tenants != "" {
		if f.config.Tenants, err = tenant.Load(f.tenants, ledger); err != nil {
			return nil, err
		}
		l.Add(f.reloadTenants())
		f.audit = cmp.Or(f.audit, filepath.Join(dir, auditFile))
	}
	if f.config.Prices, err = loadPrices(f.prices); err != nil {
		return nil, err
	}
	if f.audit == "" {
		return l, nil
	}
	if err := private.File(f.audit); err != nil {
		return nil, fmt.Errorf("open the audit log: %w", err)
	}
	audit, err := os.OpenFile(f.audit, os.O_APPEND|os.O_WRONLY, private.FileMode)
	if err != nil {
		return nil, fmt.Errorf("open the audit log: %w", err)
	}
	l.Add(audit.Close)
	f.auditLog = audit
	return l, nil
}

// reloadTenants reads the file of tenants again at every SIGHUP, until what it returns is called.
func (f *serveFlags) reloadTenants() (stop func() error) {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	go func() {
		for range hangups {
			if err := f.config.Tenants.Reload(); err != nil {
				f.config.Log.Error("the tenants stay as they were", "why", err)
			} else {
				f.config.Log.Info("tenants read again", "tenants", f.config.Tenants.Len())
			}
		}
	}()
	return func() error {
		signal.Stop(hangups)
		close(hangups)
		return nil
	}
}

// loadPrices reads a file of prices over the built-in ones; "" is these alone.
func loadPrices(path string) (llm.Prices, error) {
	if path == "" {
		return llm.DefaultPrices(), nil
	}
	return llm.LoadPrices(path)
}

func newServeTokenCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Make a token for a tenant of 'bmem serve --tenants'",
		Long: `Make a token for a tenant of 'bmem serve --tenants', and print it with the hash that stands for it in the file. The token is written
nowhere: give it to the tenant at once, in $BUDGETMEM_SERVE_TOKEN or as the API key of its client.`,
		Example: `  bmem serve token`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			token := tenant.NewToken()
			hash := tenant.HashToken(token)
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), map[string]string{"token": token, "hash": hash})
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "token, shown this once:\n  %s\nline for the tenant's tokens in the file of --tenants:\n  - %s\n", token, hash)
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "write both as JSON")
	return cmd
}
