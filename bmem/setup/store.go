package setup

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/budgetmem/budgetmem/bmem/store"
	"github.com/budgetmem/budgetmem/bmem/store/postgres"
)

// EnvStore names the environment variable with the address of the store of memories where none is given. An address with a password
// belongs there, or the password into PGPASSWORD: what stands on a command line is seen by others.
const EnvStore = "BUDGETMEM_STORE"

// OpenStore opens the memories at an address: postgres://USER@HOST:PORT/DATABASE of a PostgreSQL server, which several machines may share,
// or the path of a file. "" is what EnvStore names, else MemoryFile in dir.
func OpenStore(ctx context.Context, address, dir string) (*store.Store, error) {
	address = cmp.Or(address, os.Getenv(EnvStore))
	switch {
	case address == "":
		return store.Open(filepath.Join(dir, MemoryFile))
	case postgres.IsURL(address):
		return postgres.Open(ctx, address)
	case strings.Contains(address, "://"): // not repeated: it may hold a password
		return nil, errors.New("the address of the store: want postgres://USER@HOST:PORT/DATABASE or the path of a file")
	}
	return store.Open(address)
}
