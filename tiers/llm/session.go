package llm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

type sessionKey struct{}

// WithSession marks the calls under ctx as belonging together, such as those of one question about one memory: their prompts
// begin alike, so that an endpoint that has had one answers the next ones faster. parts name the session; endpoints see only a hash
// of them. A session within a session is a part of it.
func WithSession(ctx context.Context, parts ...string) context.Context {
	h := sha256.Sum256(fmt.Appendf(nil, "%q", append([]string{Session(ctx)}, parts...)))
	return context.WithValue(ctx, sessionKey{}, hex.EncodeToString(h[:8]))
}

// Session is the identity of the session that the calls under ctx belong to, 16 hexadecimal digits; "" if they belong to none.
func Session(ctx context.Context) string {
	s, _ := ctx.Value(sessionKey{}).(string)
	return s
}
