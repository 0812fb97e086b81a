// Package postgres keeps memories in a PostgreSQL server (14 or newer), so that several machines share them.
//
//	s, err := postgres.Open(ctx, "postgres://bmem@db.example.com/memories")
//	mem, err := bmem.Open(ctx, bmem.Options{Store: s, Embedder: e, Tokenizer: e, Client: model})
//
// The tables lie in a schema of their own, budgetmem, or the one that the address names as search_path; [Open] makes it. They hold what
// the SQLite file holds (see package store), and every process ranks by itself: PostgreSQL compares no vectors. Where the extension
// pgvector is installed when the tables are made, vectors are stored in its type, so that others may search them by SQL: vectors[1] is
// that of a chunk, the following those of its turns. Elsewhere they are bytes.
//
// What is forgotten is gone from the tables when the call returns. PostgreSQL itself keeps deleted rows in its files until VACUUM has
// passed and the space is used again, and changes in its write-ahead log until that is recycled; VACUUM FULL writes the tables anew.
//
// Passwords come from the address, PGPASSWORD or a password file (PGPASSFILE), as libpq takes them. They stand in no error and in no
// name of a store.
package postgres

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/budgetmem/budgetmem/bmem/store"
)

// DefaultSchema is the schema of the tables unless the address has a search_path.
const DefaultSchema = "budgetmem"

// connectTimeout bounds an attempt to connect unless the address has a connect_timeout.
const connectTimeout = 10 * time.Second

// IsURL reports whether an address of a store is one of a PostgreSQL server.
func IsURL(address string) bool {
	return strings.HasPrefix(address, "postgres://") || strings.HasPrefix(address, "postgresql://")
}

// Open opens the store at the address of a PostgreSQL server, postgres://USER@HOST:PORT/DATABASE?search_path=SCHEMA, and makes its
// tables if there are none. Whatever the address leaves out comes from PGHOST, PGUSER, PGPASSWORD and so on. Settings of the pool, such as
// pool_max_conns, may be added. Of a role that may only read, changes fail with store.ErrReadOnly. Errors are store.ErrNotStore if the
// schema holds something else, and store.ErrNewer.
func Open(ctx context.Context, address string) (*store.Store, error) {
	db, err := Database(ctx, address)
	if err != nil {
		return nil, err
	}
	s, err := store.New(ctx, db)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open memory store %s: %w", db, err), db.Close())
	}
	return s, nil
}

// database is a schema of a server as a store.Database.
type database struct {
	pool     *pgxpool.Pool
	name     string
	schema   string
	lock     int64 // the advisory lock of all changes
	readOnly bool
}

// Database opens the database alone, as Open does, for a Store to be made of it by store.New.
func Database(ctx context.Context, address string) (store.Database, error) {
	db, err := open(ctx, address)
	if err != nil {
		return nil, err
	}
	return db, nil
}

func open(ctx context.Context, address string) (*database, error) {
	config, err := parse(address)
	if err != nil {
		return nil, err
	}
	schema, err := schemaOf(config)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte("budgetmem\x00" + schema))
	db := &database{name: nameOf(config, schema), schema: schema, lock: int64(binary.BigEndian.Uint64(sum[:8]))}
	vectors, err := db.prepare(ctx, config.ConnConfig)
	if err != nil {
		return nil, fmt.Errorf("open memory store %s: %w", db.name, explain(err))
	}
	if vectors.array != 0 {
		config.AfterConnect = func(_ context.Context, conn *pgx.Conn) error {
			vectors.register(conn.TypeMap())
			return nil
		}
	}
	if db.pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return nil, fmt.Errorf("open memory store %s: %w", db.name, explain(err))
	}
	return db, nil
}

// parse reads an address. No error repeats it.
func parse(address string) (*pgxpool.Config, error) {
	u, err := url.Parse(address)
	if err != nil || !IsURL(address) || u.User == nil && strings.Contains(address, "@") {
		return nil, errors.New("the address of the store is none of a PostgreSQL server: want postgres://USER@HOST:PORT/DATABASE, where a password has %40 for @, " +
			"%2F for /, %3A for :, %23 for # and %3F for ?; or set PGPASSWORD and leave it out")
	}
	config, err := pgxpool.ParseConfig(address)
	if err != nil {
		message := err.Error()
		if password, _ := u.User.Password(); password != "" {
			message = strings.NewReplacer(password, "***", url.QueryEscape(password), "***", url.PathEscape(password), "***").Replace(message)
		}
		return nil, fmt.Errorf("the address of the store: %s", message)
	}
	if config.ConnConfig.ConnectTimeout == 0 {
		config.ConnConfig.ConnectTimeout = connectTimeout
	}
	if config.ConnConfig.RuntimeParams["application_name"] == "" {
		config.ConnConfig.RuntimeParams["application_name"] = "bmem"
	}
	return config, nil
}

var plainName = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,62}$`)

// schemaOf takes the schema out of the settings that the server gets at the start of a session: it is set in each transaction, so
// that a pooler between us and the server may hand sessions around.
func schemaOf(config *pgxpool.Config) (string, error) {
	schema := config.ConnConfig.RuntimeParams["search_path"]
	delete(config.ConnConfig.RuntimeParams, "search_path")
	if schema == "" {
		return DefaultSchema, nil
	}
	if !plainName.MatchString(schema) || schema == "public" || strings.HasPrefix(schema, "pg_") {
		return "", fmt.Errorf("the address of the store: search_path %q: want the name of one schema, of small letters, digits and _, which is not public", schema)
	}
	return schema, nil
}

// nameOf is the address without the password.
func nameOf(config *pgxpool.Config, schema string) string {
	c := config.ConnConfig
	u := url.URL{Scheme: "postgres", User: url.User(c.User), Host: net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port))), Path: "/" + c.Database}
	q := url.Values{}
	if strings.HasPrefix(c.Host, "/") { // the folder of a socket
		u.Host = ""
		q.Set("host", c.Host)
	}
	if schema != DefaultSchema {
		q.Set("search_path", schema)
	}
	u.RawQuery = q.Encode()
	return u.String()
}

func (db *database) String() string { return db.name }

func (db *database) ReadOnly() bool { return db.readOnly }

func (db *database) Shared() bool { return true }

// Close implements store.Database.
func (db *database) Close() error {
	db.pool.Close()
	return nil
}

// Scrub implements store.Database. Files and log are PostgreSQL's own; see the package's documentation.
func (db *database) Scrub(context.Context) error { return nil }

// Verify reports pages whose checksum was wrong when the server read them, if the cluster has checksums.
func (db *database) Verify(ctx context.Context) error {
	var failures int
	err := db.View(ctx, func(tx store.Tx) error {
		rows, err := tx.Query("SELECT coalesce(checksum_failures, 0) FROM pg_catalog.pg_stat_database WHERE datname = current_database()")
		if err != nil {
			return err
		}
		defer rows.Close() // its error is that of Err
		for rows.Next() {
			if err := rows.Scan(&failures); err != nil {
				return err
			}
		}
		return rows.Err()
	})
	if err == nil && failures > 0 {
		err = fmt.Errorf("%w: the server has read %d pages of this database with a wrong checksum", store.ErrCorrupt, failures)
	}
	return err
}
