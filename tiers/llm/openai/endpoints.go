package openai

import (
	"net/http"
	"time"
)

// EndpointState is how an endpoint of a Client does at a moment.
type EndpointState struct {
	// URL is the endpoint's address without its query.
	URL string
	// InFlight counts the calls that wait for its reply.
	InFlight int
	// Cooling says that no key of it may be used at the moment, because it limits calls or fails. Cooldowns counts how often one was
	// set aside.
	Cooling   bool
	Cooldowns int64
}

// Endpoints says how each endpoint does, in the order of Config.Endpoints.
func (c *Client) Endpoints() []EndpointState {
	var out []EndpointState
	r := c.turns
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	for i, h := range r.routes {
		if r.endpoints[i] == len(out) {
			out = append(out, EndpointState{URL: c.routes[i].name(), Cooling: true})
		}
		e := &out[len(out)-1]
		e.InFlight += h.inFlight
		e.Cooldowns += h.cooldowns
		e.Cooling = e.Cooling && now.Before(h.until)
	}
	return out
}

type endpointKey struct{}

// EndpointOf is the EndpointState.URL that a request of a Client with Config.Transport goes to; "" for other requests.
func EndpointOf(r *http.Request) string {
	url, _ := r.Context().Value(endpointKey{}).(string)
	return url
}

// name is the route's address without its query, which may hold a key.
func (r route) name() string { return r.base.String() }

// leaveUntil leaves a route alone until then. The caller holds mu.
func (h *health) leaveUntil(until, now time.Time) {
	if !until.After(h.until) {
		return
	}
	if !now.Before(h.until) {
		h.cooldowns++
	}
	h.until = until
}
