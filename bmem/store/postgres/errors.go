package postgres

import (
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/budgetmem/budgetmem/bmem/store"
)

// SQLSTATE codes of PostgreSQL: its manual, appendix A.
const (
	serializationFailure = "40001"
	deadlock             = "40P01"
	invalidAuthorization = "28000"
	invalidPassword      = "28P01"
	noDatabase           = "3D000"
	noPrivilege          = "42501"
	readOnlyTransaction  = "25006"
	diskFull             = "53100"
	tooManyConnections   = "53300"
	tooLong              = "54000" // program_limit_exceeded: a key of an index
	starting             = "57P03"
	corruptData          = "XX001"
	corruptIndex         = "XX002"
)

// errReadOnly is store.ErrReadOnly in other words: there is no file here.
var errReadOnly error = readOnlyError{}

type readOnlyError struct{}

func (readOnlyError) Error() string {
	return "the memory store can only be read: it is a standby, or the role may not write (GRANT INSERT, UPDATE, DELETE)"
}

func (readOnlyError) Is(target error) bool { return target == store.ErrReadOnly }

// explain adds to an error of PostgreSQL what it means here and what to do.
func explain(err error) error {
	var connect *pgconn.ConnectError
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		if errors.As(err, &connect) {
			return fmt.Errorf("no PostgreSQL server answers there; start it, or correct the address: %w", err)
		}
		return err
	}
	say := ""
	switch e.Code {
	case invalidAuthorization, invalidPassword:
		say = "the server refuses the user or the password; set PGPASSWORD, or put it into the address"
	case noDatabase:
		say = "make the database first (createdb)"
	case noPrivilege:
		say = "the role has no right to that; as the owner of the database: GRANT CREATE ON DATABASE … TO …"
	case readOnlyTransaction:
		return fmt.Errorf("%w (%w)", errReadOnly, err)
	case diskFull:
		say = "the disk of the server is full"
	case tooManyConnections:
		say = "the server has no connection left; raise max_connections, or add ?pool_max_conns=N to the address"
	case tooLong:
		say = "a name of a memory, session or turn has more than some 2,700 bytes, which PostgreSQL cannot index"
	case starting:
		say = "the server is starting or stopping"
	case corruptData, corruptIndex:
		return fmt.Errorf("%w: %w", store.ErrCorrupt, err)
	default:
		return err
	}
	return fmt.Errorf("%s: %w", say, err)
}
