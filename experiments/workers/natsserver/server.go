// Package natsserver runs a NATS server with JetStream in this process, for those who have none. It writes every message to the
// disk before it acknowledges it.
package natsserver

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// MaxPayload is the largest message in bytes. A result holds a question's trace, which may be larger than the 1 MB that servers
// allow otherwise.
const MaxPayload = 8 << 20

// ErrNoToken: the server would let everyone in who can reach it.
var ErrNoToken = errors.New("a token is needed")

// Config says how the server runs.
type Config struct {
	// Addr is the host and port to listen on; port 0 takes a free one.
	Addr string
	// Dir keeps the messages.
	Dir string
	// Token is what clients must show; "" lets every client in, which is allowed on loopback only.
	Token string
	// Certificate and Key are the PEM files of the server's certificate; "" means no TLS.
	Certificate, Key string
	// Name, Cluster and Routes make the server part of a cluster: its own name, the host and port that the other servers reach it
	// at, and theirs. "" in Cluster means a server on its own.
	Name, Cluster string
	Routes        []string
	// MaxStore bounds what lies on the disk, in bytes; 0 means three quarters of what is free.
	MaxStore int64
}

// Server is a running server.
type Server struct{ *server.Server }

// Start starts a server and returns when clients can connect. ErrNoToken for an address that other machines reach, without a token; an
// address that is taken, a certificate that cannot be read and a folder that cannot be written are errors too.
func Start(c Config) (*Server, error) {
	if (c.Certificate == "") != (c.Key == "") {
		return nil, errors.New("start NATS: a certificate and its key go together")
	}
	host, port, err := split(c.Addr)
	if err != nil {
		return nil, fmt.Errorf("start NATS: address %q: %w", c.Addr, err)
	}
	if tcp, err := net.ResolveTCPAddr("tcp", c.Addr); err != nil {
		return nil, fmt.Errorf("start NATS: %w", err)
	} else if !tcp.IP.IsLoopback() && c.Token == "" { // no host at all means every interface
		return nil, fmt.Errorf("start NATS at %s: other machines can reach this address: %w", c.Addr, ErrNoToken)
	}
	if port == 0 {
		port = server.RANDOM_PORT
	}
	o := &server.Options{ServerName: c.Name, Host: host, Port: port, Authorization: c.Token, JetStream: true, StoreDir: c.Dir, SyncAlways: true,
		MaxPayload: MaxPayload, NoSigs: true, NoLog: true, JetStreamMaxStore: c.MaxStore}
	if c.Certificate != "" {
		pair, err := tls.LoadX509KeyPair(c.Certificate, c.Key)
		if err != nil {
			return nil, fmt.Errorf("start NATS: %w", err)
		}
		o.TLS, o.TLSConfig = true, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	}
	if c.Cluster != "" {
		if o.Cluster, o.Routes, err = cluster(c); err != nil {
			return nil, fmt.Errorf("start NATS: %w", err)
		}
	}
	s, err := server.NewServer(o)
	if err != nil {
		return nil, fmt.Errorf("start NATS: %w", err)
	}
	s.Start()
	if !s.ReadyForConnections(20*time.Second) || !s.JetStreamEnabled() {
		s.Shutdown()
		return nil, fmt.Errorf("start NATS at %s: the server did not get ready: is the address in use, or the folder %s not writable?", c.Addr, c.Dir)
	}
	return &Server{s}, nil
}

// cluster returns the options of a server that is part of a cluster.
func cluster(c Config) (server.ClusterOpts, []*url.URL, error) {
	if c.Name == "" {
		return server.ClusterOpts{}, nil, errors.New("a server of a cluster needs a name of its own")
	}
	host, port, err := split(c.Cluster)
	if err != nil {
		return server.ClusterOpts{}, nil, fmt.Errorf("cluster address %q: %w", c.Cluster, err)
	}
	var routes []*url.URL
	for _, r := range c.Routes {
		if _, _, err := split(r); err != nil {
			return server.ClusterOpts{}, nil, fmt.Errorf("route %q: %w", r, err)
		}
		u := &url.URL{Scheme: "nats", Host: r}
		if c.Token != "" {
			u.User = url.UserPassword("bmem", c.Token)
		}
		routes = append(routes, u)
	}
	opts := server.ClusterOpts{Name: "bmem", Host: host, Port: port}
	if c.Token != "" {
		opts.Username, opts.Password = "bmem", c.Token
	}
	return opts, routes, nil
}

func split(addr string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, errors.New("want HOST:PORT")
	}
	if port, err = strconv.Atoi(text); err != nil || port < 0 || port > 65535 {
		return "", 0, fmt.Errorf("%q is no port", text)
	}
	return host, port, nil
}

// Stop ends the server once its messages are on the disk.
func (s *Server) Stop() {
	s.Shutdown()
	s.WaitForShutdown()
}
