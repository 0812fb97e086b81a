package openai

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/budgetmem/budgetmem/tiers/llm"
)

// maxBody bounds what is read of a reply, in bytes.
const maxBody = 64 << 20

var errTooLong = fmt.Errorf("a reply of more than %d MB", maxBody>>20)

// exchange is one HTTP exchange.
type exchange struct {
	route      route
	path       string
	sent       bool
	status     int // 0 until a reply's header has come
	retryAfter time.Duration
	session    string        // that the call belongs to
	pause      time.Duration // that the endpoint's x-ratelimit headers ask for
	html       bool
	body       []byte // nil until all of it was read
}

// newHTTP returns a client that keeps enough connections open for many calls at the same time; the standard library's
// two a host would open and close one for nearly every call. It follows a redirect only within the same origin: a prompt
// goes where the user sent it.
func newHTTP(wrap func(http.RoundTripper) http.RoundTripper) *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = 128
	t.MaxIdleConns = 256
	var transport http.RoundTripper = t
	if wrap != nil {
		transport = wrap(t)
	}
	return &http.Client{Transport: transport, CheckRedirect: func(req *http.Request, via []*http.Request) error {
		first := via[0]
		if req.URL.Scheme != first.URL.Scheme || req.URL.Host != first.URL.Host || req.Method != first.Method || len(via) > 5 {
			to := *req.URL
			to.RawQuery, to.User = "", nil
			return &redirectError{to.String()}
		}
		return nil
	}}
}

// redirectError is a redirect that is not followed.
type redirectError struct{ to string }

func (e *redirectError) Error() string {
	return "the endpoint redirects to " + e.to + ", where nothing is sent: if that is right, give it as the base URL"
}

// send makes one HTTP call and reads the whole reply into x. A status is no error here.
func (c *Client) send(ctx context.Context, x *exchange, method string, body []byte) error {
	if c.config.Transport != nil {
		ctx = context.WithValue(ctx, endpointKey{}, x.route.name())
	}
	req, err := http.NewRequestWithContext(ctx, method, x.route.address(x.path), bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	switch {
	case x.route.key == "":
	case x.route.azure:
		req.Header.Set("api-key", x.route.key)
	default:
		req.Header.Set("Authorization", "Bearer "+x.route.key)
	}
	for name, values := range c.headers {
		req.Header[name] = values
	}
	if name := c.config.Settings.SessionHeader; name != "" && x.session != "" {
		req.Header.Set(name, x.session)
	}
	x.sent = true
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	x.status = resp.StatusCode
	if wait, ok := llm.ParseRetryAfter(resp.Header.Get("Retry-After"), time.Now()); ok {
		x.retryAfter = max(wait, time.Millisecond) // 0 would say that the endpoint did not say
	}
	x.pause = ratePause(resp.Header, len(body), time.Now())
	read, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return err
	}
	if len(read) > maxBody {
		return errTooLong
	}
	x.body = read
	text := bytes.TrimSpace(bytes.TrimPrefix(bytes.TrimSpace(read), byteOrderMark))
	html := strings.Contains(resp.Header.Get("Content-Type"), "text/html") // some send a good reply under it
	x.html = bytes.HasPrefix(text, []byte("<")) || html && !bytes.HasPrefix(text, []byte("{")) && !bytes.HasPrefix(text, []byte("data:"))
	return nil
}

// try makes one call on the next route that may be used, within the timeout, and turns what goes wrong into an llm.Error.
// read takes the body of a reply with status 2xx.
func (c *Client) try(ctx context.Context, method, path string, body []byte, read func(x *exchange) error) error {
	return c.turns.do(ctx, func(i int) error {
		x := &exchange{route: c.routes[i], path: path, session: llm.Session(ctx)}
		tctx, cancel := context.WithTimeout(ctx, c.config.Timeout)
		defer cancel()
		err := c.send(tctx, x, method, body)
		if x.pause > 0 {
			c.turns.pause(i, x.pause)
		}
		switch {
		case err != nil:
			return c.broken(ctx, x, err)
		case x.status < 200 || x.status >= 300 || x.html:
			return c.refused(x)
		}
		return read(x)
	})
}

// broken describes an exchange without a whole reply. The errors of net/http are not wrapped, because they hold what the
// endpoint sent, which may be a key.
func (c *Client) broken(ctx context.Context, x *exchange, err error) error {
	e := &llm.Error{Kind: llm.ErrUnavailable, Status: x.status, RetryAfter: x.retryAfter}
	var redirect *redirectError
	var unknown *net.DNSError
	switch {
	case ctx.Err() != nil: // the caller's doing, not the endpoint's
		e.Err = context.Cause(ctx)
	case !x.sent:
		e.Kind, e.Unsent, e.Message = llm.ErrBadRequest, true, c.secret.clean(err.Error())
	case errors.Is(err, context.DeadlineExceeded):
		e.Message = "no reply within " + c.config.Timeout.String()
	case errors.As(err, &redirect):
		e.Kind, e.Final, e.Message = llm.ErrBadRequest, true, c.secret.clean(redirect.Error())
		e.Status = http.StatusPermanentRedirect // answered, and so not billed
	case errors.Is(err, errTooLong): // the next one would be paid for too
		e.Final, e.Message = true, err.Error()
	case untrusted(err):
		e.Final, e.Unsent = true, true
		e.Message = c.secret.clean(cause(err)) + ": nothing was sent; if the certificate is your own, name it in SSL_CERT_FILE, or its folder in SSL_CERT_DIR"
	case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		e.Final, e.Unsent = true, true
		e.Message = "the endpoint speaks http, not https: begin the base URL with http://"
	case errors.As(err, &unknown) && unknown.IsNotFound:
		e.Final, e.Unsent = true, true
		e.Message = "there is no host " + x.route.base.Hostname() + ": check the base URL"
	case errors.Is(err, syscall.ECONNREFUSED):
		host := x.route.base.Host
		e.Message = "nothing listens at " + host + ": start the server, or check the base URL"
		if isLoopback(x.route.base.Hostname()) {
			e.Err = llm.ErrNoServer
		}
		c.tellAlone("refuses connections at " + host + "; trying again for a while")
	default:
		e.Message = c.secret.clean(cause(err))
	}
	return e
}

// isLoopback says whether a host is this machine.
func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// untrusted says whether a connection failed because of the endpoint's certificate.
func untrusted(err error) bool {
	var verification *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	return errors.As(err, &verification) || errors.As(err, &authority) || errors.As(err, &host) || errors.As(err, &invalid)
}

// cause is an error of net/http without the request's address, which may have a key in its query.
func cause(err error) string {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return err.Error()
}

// refused describes a reply with a status that is no success, or a web page in place of a reply.
func (c *Client) refused(x *exchange) error {
	e := &llm.Error{Kind: llm.ErrBadRequest, Status: x.status, RetryAfter: x.retryAfter, Final: true}
	if x.status < 200 || x.status >= 300 {
		e.Kind, e.Final = llm.KindOfStatus(x.status), false
	}
	if x.html {
		e.Message = "a web page in place of a reply: " + c.snippet([]byte(pageText(x.body))) + ": is " + x.route.base.Redacted() + " the base URL of an OpenAI-compatible endpoint?"
	} else {
		said := readError(x.body)
		e.Message = c.snippet([]byte(said.words))
		if said.words == "" {
			e.Message = c.snippet(x.body)
		}
		if e.Kind == llm.ErrRateLimited && said.quota() {
			e.Kind = llm.ErrQuota
		}
	}
	if x.status == http.StatusNotFound && !versioned(x.route.base) && !strings.Contains(strings.ToLower(e.Message), "model") {
		e.Message = strings.TrimSpace(e.Message + ": there is nothing at " + x.route.base.JoinPath(x.path).Redacted() + "; most base URLs end in a version: try " + x.route.base.JoinPath("v1").Redacted())
	}
	return &answered{e, x.status, x.body}
}

// answered is an error that an endpoint sent, with all that it sent, for hints. Only hints look at that: it may hold a key.
type answered struct {
	failure *llm.Error
	status  int
	body    []byte
}

func (a *answered) Error() string { return a.failure.Error() }

// Unwrap returns the error without the body.
func (a *answered) Unwrap() error { return a.failure }

// Format prints the error without the body, whatever the verb.
func (a *answered) Format(s fmt.State, _ rune) { io.WriteString(s, a.failure.Error()) }

var versionRE = regexp.MustCompile(`/(?:api/)?v\d+|/openai|/deployments/`)

// versioned says whether a base URL has a version in its path, or is of a form that needs none.
func versioned(base *url.URL) bool { return versionRE.MatchString(base.Path) }

var (
	scriptRE = regexp.MustCompile(`(?is)<(?:script|style)\b.*?</(?:script|style)>`)
	tagRE    = regexp.MustCompile(`(?s)<[^>]*>`)
)

// pageText is what a web page says.
func pageText(page []byte) string {
	page = page[:min(len(page), 1<<16)]
	return string(tagRE.ReplaceAll(scriptRE.ReplaceAll(page, []byte(" ")), []byte(" ")))
}

// snippet is the beginning of what an endpoint sent, on one line, without keys.
func (c *Client) snippet(body []byte) string {
	const most = 300
	text := c.secret.clean(strings.Join(strings.Fields(strings.ToValidUTF8(string(body), "�")), " "))
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}

// mustJSON encodes what is known to have a JSON form.
func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}
