package tenant

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// hashPrefix names the hash of a token in a file of tenants.
const hashPrefix = "sha256-"

// NewToken makes a token of 128 random bits. SHA-256 alone is enough to hash it: it cannot be guessed as a password can.
func NewToken() string { return "bmem_" + rand.Text() }

// HashToken returns how a token stands in a file of tenants.
func HashToken(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hashPrefix + hex.EncodeToString(sum[:])
}

// parseHash reads what HashToken returns.
func parseHash(s string) (hash [sha256.Size]byte, err error) {
	digits, ok := strings.CutPrefix(s, hashPrefix)
	b, err := hex.DecodeString(digits)
	if !ok || err != nil || len(b) != len(hash) {
		return hash, fmt.Errorf("want %s and 64 hexadecimal digits, as `bmem serve token` prints; the token itself must not stand here", hashPrefix)
	}
	return [sha256.Size]byte(b), nil
}
