package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/budgetmem/budgetmem/bmem/setup"
	"github.com/budgetmem/budgetmem/experiments/workers"
	"github.com/budgetmem/budgetmem/experiments/workers/natsserver"
	"github.com/budgetmem/budgetmem/internal/private"
)

func newNATSCmd() *cobra.Command {
	c := natsserver.Config{Addr: "127.0.0.1:4222"}
	var cache, maxStore string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "nats",
		Short: "Run the NATS server that workers and 'bmem eval --workers' meet at",
		Long: `Run the NATS server that workers and 'bmem eval --workers' meet at, for those who have none. A NATS server of your own, version 2.12 or
later with JetStream, does as well; give it max_payload 8MB and sync_interval always.

Without a token the server listens on loopback only. With one in $` + workers.EnvToken + ` clients must have the same there, and other
addresses may be listened on too. The token and the questions cross the network as they are unless there is a certificate.

Three servers with --cluster and --route go on working when one of them dies.`,
		Example: `  bmem nats
  bmem nats --addr 0.0.0.0:4222 --tls-cert cert.pem --tls-key key.pem
  bmem nats --addr 0.0.0.0:4222 --name n1 --cluster 0.0.0.0:6222 --route n2:6222 --route n3:6222`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c.Token = os.Getenv(workers.EnvToken)
			if maxStore != "" {
				n, err := humanize.ParseBytes(maxStore)
				if err != nil || int64(n) <= 0 {
					return fmt.Errorf("--max-store %q: want a size such as 20GB", maxStore)
				}
				c.MaxStore = int64(n)
			}
			if c.Dir == "" {
				dir, err := setup.CacheDir(cache)
				if err != nil {
					return err
				}
				c.Dir = filepath.Join(dir, "nats")
			}
			if err := private.Dir(c.Dir); err != nil {
				return fmt.Errorf("make the server's folder: %w", err)
			}
			s, err := natsserver.Start(c)
			if errors.Is(err, natsserver.ErrNoToken) {
				return fmt.Errorf("%w: set $%s to a secret (such as the output of `openssl rand -hex 32`), or listen on 127.0.0.1", err, workers.EnvToken)
			} else if err != nil {
				return err
			}
			defer s.Stop()
			if asJSON {
				err = writeJSON(cmd.OutOrStdout(), map[string]string{"url": s.ClientURL(), "dir": c.Dir})
			} else {
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "serving NATS at %s, messages in %s\n", s.ClientURL(), c.Dir)
			}
			if err != nil {
				return err
			}
			<-cmd.Context().Done()
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&c.Addr, "addr", c.Addr, "`host:port` to listen on; port 0 takes a free one")
	flags.StringVar(&c.Dir, "dir", "", "`folder` for messages (default nats in the cache folder)")
	flags.StringVar(&cache, "cache", "", "the cache folder (default $"+setup.EnvCache+", else the user's)")
	flags.StringVar(&maxStore, "max-store", "", "the most that messages may take on the disk, such as `20GB` (default three quarters of what is free)")
	flags.StringVar(&c.Certificate, "tls-cert", "", "PEM `file` with the server's certificate")
	flags.StringVar(&c.Key, "tls-key", "", "PEM `file` with the certificate's key")
	flags.StringVar(&c.Name, "name", "", "the server's own name in a cluster")
	flags.StringVar(&c.Cluster, "cluster", "", "`host:port` for the other servers of the cluster")
	flags.StringArrayVar(&c.Routes, "route", nil, "`host:port` of another server of the cluster; may be repeated")
	flags.BoolVar(&asJSON, "json", false, "write the address as JSON")
	return cmd
}
