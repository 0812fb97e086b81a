package models

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"
)

// How long the hub may take. A machine that cannot reach it should learn so quickly.
const (
	connectTimeout = 5 * time.Second
	answerTimeout  = 15 * time.Second
	stallTimeout   = 60 * time.Second // without a single byte
)

// hub fetches files from Hugging Face. HF_ENDPOINT names a mirror, HF_TOKEN a token, HF_HUB_OFFLINE=1 forbids it: the
// variables of Hugging Face's own programs.
type hub struct {
	base, token string
	client      *http.Client

	mu      sync.Mutex
	refused error // after a failure the hub is not asked again
}

func newHub() *hub {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DialContext = (&net.Dialer{Timeout: connectTimeout}).DialContext
	transport.TLSHandshakeTimeout = connectTimeout
	transport.ResponseHeaderTimeout = answerTimeout
	h := &hub{
		base:   strings.TrimSuffix(cmp.Or(os.Getenv("HF_ENDPOINT"), "https://huggingface.co"), "/"),
		token:  os.Getenv("HF_TOKEN"),
		client: &http.Client{Transport: transport},
	}
	if v := os.Getenv("HF_HUB_OFFLINE"); v != "" && v != "0" {
		h.refused = errors.New("HF_HUB_OFFLINE is set")
	}
	return h
}

func (h *hub) name() string { return "Hugging Face" }

func (h *hub) close() {}

// do sends a request for f. Any answer but the file, or that there is no such file, counts as a refusal, which is
// remembered for the rest of the run.
func (h *hub) do(ctx context.Context, method string, m Model, f File, from int64) (*http.Response, error) {
	h.mu.Lock()
	refused := h.refused
	h.mu.Unlock()
	if refused != nil {
		return nil, refused
	}
	address := fmt.Sprintf("%s/%s/resolve/%s/%s", h.base, m.Repo, url.PathEscape(m.Revision), f.Path)
	req, err := http.NewRequestWithContext(ctx, method, address, nil)
	if err != nil {
		return nil, err
	}
	if h.token != "" {
		req.Header.Set("Authorization", "Bearer "+h.token)
	}
	if from > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", from))
	}
	resp, err := h.client.Do(req)
	if err == nil && resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusPartialContent {
		resp.Body.Close()
		if resp.StatusCode == http.StatusNotFound {
			return nil, fmt.Errorf("no %s", address)
		}
		err = fmt.Errorf("%s answers %s", h.base, resp.Status)
	}
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err // without the address: it is not about this file
	}
	if err != nil && ctx.Err() == nil {
		h.mu.Lock()
		h.refused = err
		h.mu.Unlock()
	}
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// answers asks whether the hub has the first file of m: nil if so.
func (h *hub) answers(ctx context.Context, m Model) error {
	resp, err := h.do(ctx, http.MethodHead, m, m.Files[0], 0)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// fetch continues where out ends. It reconnects after a broken connection as long as each connection made progress.
func (h *hub) fetch(ctx context.Context, m Model, f File, out *partial) error {
	for {
		before := out.size
		err := h.stream(ctx, m, f, out)
		if err == nil && out.size == f.Size {
			return nil
		}
		if err == nil {
			err = fmt.Errorf("ended after %d of %d bytes", out.size, f.Size)
		}
		if ctx.Err() != nil || out.size <= before {
			return err
		}
	}
}

func (h *hub) stream(ctx context.Context, m Model, f File, out *partial) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	resp, err := h.do(ctx, http.MethodGet, m, f, out.size)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK && out.size > 0 { // the server sends the file from its start
		if err := out.truncate(0); err != nil {
			return err
		}
	}
	out.from(h.name())
	stalled := fmt.Errorf("no data for %v", stallTimeout)
	timer := time.AfterFunc(stallTimeout, func() { cancel(stalled) })
	defer timer.Stop()
	_, err = copyContext(ctx, out, readerFunc(func(p []byte) (int, error) {
		timer.Reset(stallTimeout)
		return resp.Body.Read(p)
	}))
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	return err
}
