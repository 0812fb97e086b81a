package workers

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

const (
	// presentEvery is how often a worker says that it is there even if nothing changed; workerTTL is how long that holds.
	presentEvery = 2 * time.Second
	workerTTL    = 8 * time.Second
	// watchEvery is how often a coordinator looks which workers are there.
	watchEvery = 500 * time.Millisecond
	// outageAfter is how long the server may be away before that is said: another one of a cluster takes over sooner.
	outageAfter = 2 * time.Second
)

// presence is what a worker says of itself.
type presence struct {
	Worker   string `json:"worker"`
	Capacity int    `json:"capacity"`
	// Refused holds the runs that it does not work for, and why.
	Refused map[string]string `json:"refused,omitempty"`
	// Serves are the runs that it works for.
	Serves []string `json:"serves,omitempty"`
}

// watch tells the user of the workers that come, go and refuse, until ctx ends.
func (co *coordination) watch(ctx context.Context) error {
	known := map[string]string{}
	var unsure time.Time // until when a worker that is missing may only not have said again that it is there
	for first := true; ; first = false {
		asked := time.Now()
		now, err := co.Conn.present(ctx)
		if err != nil {
			return err
		}
		if time.Since(asked) > watchEvery { // the server was away, and has forgotten who was there
			unsure = time.Now().Add(workerTTL)
		}
		states := map[string]string{}
		for _, p := range now {
			switch reason, refused := p.Refused[co.job.id()]; {
			case refused:
				states[p.Worker] = "refuses the run: " + reason
			case slices.Contains(p.Serves, co.job.id()):
				states[p.Worker] = fmt.Sprintf("answers up to %d questions at one time", p.Capacity)
			}
		}
		for _, w := range slices.Sorted(maps.Keys(states)) {
			if known[w] != states[w] {
				co.tell("worker " + w + " " + states[w])
			}
		}
		for _, w := range slices.Sorted(maps.Keys(known)) {
			switch {
			case states[w] != "":
			case time.Now().Before(unsure):
				states[w] = known[w]
			default:
				co.tell("worker " + w + " is gone")
			}
		}
		if first && len(now) == 0 {
			co.tell("no worker is there yet: start some with 'bmem worker --nats URL'")
		}
		known = states
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(watchEvery):
		}
	}
}

// tellOutages says when the server is away for longer than a moment, and when it is back, until ctx ends. Calls only wait meanwhile,
// which looks like a run that hangs.
func (c *Conn) tellOutages(ctx context.Context, note func(string)) {
	var since time.Time
	told := false
	for tick := time.NewTicker(watchEvery); ; {
		select {
		case <-ctx.Done():
			tick.Stop()
			return
		case <-tick.C:
		}
		switch away := !c.nc.IsConnected(); {
		case !away && told:
			note("the NATS server is back")
			fallthrough
		case !away:
			since, told = time.Time{}, false
		case since.IsZero():
			since = time.Now()
		case !told && time.Since(since) >= outageAfter:
			note("the NATS server is away; waiting until it is back")
			told = true
		}
	}
}

// present lists the workers that are there.
func (c *Conn) present(ctx context.Context) ([]presence, error) {
	entries, err := c.entries(ctx, workersBucket)
	if err != nil {
		return nil, fmt.Errorf("list the workers: %w", err)
	}
	var out []presence
	for _, value := range entries {
		var p presence
		if err := json.Unmarshal(value, &p); err == nil && p.Worker != "" && !strings.ContainsAny(p.Worker, "\r\n") {
			out = append(out, p)
		}
	}
	return out, nil
}
