package workers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// EnvToken and EnvCreds name the environment variables with the server's token, and with the path of a NATS credentials file.
const (
	EnvToken = "BUDGETMEM_NATS_TOKEN"
	EnvCreds = "BUDGETMEM_NATS_CREDS"
)

// DefaultLease is how long a task, or the claim on a call, outlives the last sign of life of its worker.
const DefaultLease = 30 * time.Second

// Conn is a connection to a NATS server or cluster with JetStream. Calls on it wait while the server is away.
type Conn struct {
	lease    time.Duration
	nc       *nats.Conn
	js       jetstream.JetStream
	replicas int
	streams  map[string]jetstream.Stream   // by name; they are not changed once connected
	buckets  map[string]jetstream.KeyValue // by name, likewise
	below    map[string]jetstream.Stream   // the streams that buckets are kept in, by bucket
	pending  sync.WaitGroup                // calls that nobody waits for
}

// Connect connects to the servers of a URL such as nats://host:4222, or of several joined by commas. The token comes from EnvToken
// and credentials from EnvCreds. name is what the server's operator sees. All
// that meet at a server have the same lease; see DefaultLease. A URL with a token in it, a server that is not reached or refuses the
// token, and a cluster without a majority are errors.
func Connect(ctx context.Context, url, name string, lease time.Duration) (*Conn, error) {
	if strings.Contains(url, "@") {
		return nil, fmt.Errorf("connect to NATS: the URL holds a user or token, which others on this machine can read: put a token into $%s, or the path of a credentials file into $%s", EnvToken, EnvCreds)
	}
	options := []nats.Option{nats.Name(name), nats.MaxReconnects(-1), nats.ReconnectWait(100 * time.Millisecond), nats.ReconnectBufSize(-1), nats.Timeout(5 * time.Second)}
	if token := os.Getenv(EnvToken); token != "" {
		options = append(options, nats.Token(token))
	}
	if creds := os.Getenv(EnvCreds); creds != "" {
		options = append(options, nats.UserCredentials(creds))
	}
	nc, err := nats.Connect(url, options...)
	if err != nil {
		return nil, fmt.Errorf("connect to NATS at %s: %w; 'bmem nats' starts a server", url, err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("connect to NATS at %s: %w", url, err)
	}
	c := &Conn{lease: lease, nc: nc, js: js, replicas: 1}
	if nc.ConnectedClusterName() != "" {
		c.replicas = 3
	}
	pctx, cancel := context.WithTimeoutCause(ctx, prepareFor, fmt.Errorf("it made no streams within %s: a cluster needs most of its servers for that, and three at the first time", prepareFor))
	defer cancel()
	if err := c.prepare(pctx); err != nil {
		nc.Close()
		return nil, fmt.Errorf("prepare the streams at %s: %w", url, err)
	}
	// Calls on what is missing wait for it, and tell of ctx's end.
	nc.SetReconnectHandler(func(*nats.Conn) { _ = c.prepareMemory(ctx) })
	return c, nil
}

// Close ends the connection once claims that were given up are removed, within a second.
func (c *Conn) Close() {
	idle := make(chan struct{})
	go func() {
		c.pending.Wait()
		close(idle)
	}()
	select {
	case <-idle:
	case <-time.After(time.Second): // the claims end by themselves
	}
	c.nc.Close()
}

// prepareFor is how long a server that was reached may take to make the streams.
const prepareFor = 30 * time.Second

// attemptTimeout bounds one try of a call on the server.
const attemptTimeout = 5 * time.Second

// retry calls f until it succeeds or fails for good. A server that restarts, or a cluster that elects a leader, answers late or
// not at all; the call is then made again until ctx ends. f must be such that making it twice does no harm.
func retry[T any](ctx context.Context, f func(context.Context) (T, error)) (T, error) {
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, 500*time.Millisecond) {
		tctx, cancel := context.WithTimeout(ctx, attemptTimeout)
		v, err := f(tctx)
		cancel()
		if err == nil || final(err) {
			return v, err
		}
		select {
		case <-ctx.Done():
			return v, fmt.Errorf("%w (last failure: %w)", context.Cause(ctx), err)
		case <-time.After(pause):
		}
	}
}

// final says whether a call would fail in the same way again.
func final(err error) bool {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		// 5xx: no leader, a restart, a stream that is being recovered. 404: a stream in memory that is not there again yet.
		return api.Code < 500 && api.ErrorCode != jetstream.JSErrCodeStreamNotFound || slices.Contains(refusals, api.ErrorCode)
	}
	for _, e := range []error{nats.ErrConnectionClosed, nats.ErrAuthorization, nats.ErrMaxPayload, nats.ErrPermissionViolation,
		jetstream.ErrKeyExists, jetstream.ErrKeyNotFound, jetstream.ErrMsgNotFound, jetstream.ErrJetStreamNotEnabled, jetstream.ErrJetStreamNotEnabledForAccount} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// refusals are the server's codes for messages that it does not store: for lack of disk, for an account's limit, and because of the
// stream's own limits, which refusedSecond and refusedFull tell apart.
var refusals = []jetstream.ErrorCode{10028, 10047, 10077}

// refusedSecond says whether a stream has a message with the subject already.
func refusedSecond(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && strings.Contains(api.Description, "maximum messages per subject exceeded")
}

// refusedFull says whether a stream holds as many messages as it may.
func refusedFull(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && strings.HasSuffix(api.Description, "maximum messages exceeded")
}
