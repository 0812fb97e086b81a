package openai

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/budgetmem/budgetmem/tiers/llm"
)

// Call posts in as JSON to a path below the base URL that is not part of OpenAI's API, such as "score", and reads the
// answer into out. It makes one attempt. Errors are *llm.Error.
func (c *Client) Call(ctx context.Context, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return &llm.Error{Kind: llm.ErrBadRequest, Unsent: true, Err: err}
	}
	err = c.try(ctx, http.MethodPost, path, body, func(x *exchange) error {
		if err := json.Unmarshal(x.body, out); err != nil {
			return c.unreadable(x, err)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("%s: %w", c.config.Model, err)
	}
	return nil
}

// asError returns the llm.Error in err.
func asError(err error) (e *llm.Error, ok bool) {
	ok = errors.As(err, &e)
	return e, ok
}
