package openai

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/budgetmem/budgetmem/tiers/llm"
)

// Call posts in as JSON to a path below the base URL that is not of OpenAI's API, such as "score", and reads the answer into
// out. It makes one attempt; errors are as of Chat.
func (c *Client) Call(ctx context.Context, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return &llm.Error{Kind: llm.ErrBadRequest, Unsent: true, Err: err}
	}
	x := &exchange{}
	err = c.try(ctx, x, func(ctx context.Context, r route) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.base+"/"+path, bytes.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/json")
		if r.key != "" {
			req.Header.Set("Authorization", "Bearer "+r.key)
		}
		resp, err := c.doer.Do(req)
		if err != nil {
			return err
		}
		answer, err := io.ReadAll(resp.Body) // the transport has read it already
		if err != nil {
			return err
		}
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("status %s", resp.Status)
		}
		return json.Unmarshal(answer, out)
	})
	if err != nil {
		return fmt.Errorf("%s: %w", c.id, err)
	}
	return nil
}
