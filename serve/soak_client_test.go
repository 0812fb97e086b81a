package serve

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/serve/memory"
)

// soaked is a client with what it knows to be in the memories.
type soaked struct {
	t       *testing.T
	id      int
	rng     *rand.Rand
	token   string
	addrs   []string
	http    *http.Client
	live    map[string]map[string]string // by memory and session/id, the text
	old     []string                     // memory and session, full, the oldest first
	session map[string]int               // by memory, the one being filled
	n       int
	counts  map[string]int
	dollars float64
}

// do sends a request to a server and decodes the answer.
func (c *soaked) do(server int, method, path string, body, out any) (status int, err error) {
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return 0, err
		}
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(c.t.Context(), method, "http://"+c.addrs[server]+"/v1/memories"+path, r)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	if resp.StatusCode != 200 {
		return resp.StatusCode, fmt.Errorf("%s %s: %d %s", method, path, resp.StatusCode, data)
	}
	return 200, json.Unmarshal(data, out)
}

// step makes one request, or two that belong together.
func (c *soaked) step() error {
	m := fmt.Sprint("m", c.rng.IntN(soakMemories))
	at := c.rng.IntN(len(c.addrs))
	switch k := c.rng.IntN(20); {
	case len(c.old) > 3: // so that what is kept does not grow
		where := c.old[0]
		c.old = c.old[1:]
		m, session, _ := strings.Cut(where, " ")
		var gone memory.DeleteResult
		if _, err := c.do(at, "DELETE", "/"+m+"/sessions/"+session, nil, &gone); err != nil {
			return err
		}
		for key := range c.live[m] {
			if strings.HasPrefix(key, session+"/") {
				delete(c.live[m], key)
				gone.Turns--
			}
		}
		if gone.Turns != 0 {
			return fmt.Errorf("forgetting session %s of %s: %d turns more than there were", session, m, gone.Turns)
		}
		c.counts["forgotten"]++
		return nil
	case k < 11:
		return c.add(at, m)
	case k < 13:
		var found memory.SearchResult
		_, err := c.do(at, "POST", "/"+m+"/search", map[string]any{"query": "What did client " + strconv.Itoa(c.id) + " say?"}, &found)
		c.counts["searched"]++
		return ignoreMissing(err)
	}
	var answer memory.AskResult
	question := map[string]any{"question": fmt.Sprintf("Where did client %d move in year %d?", c.id, c.rng.IntN(1000)), "budget": []string{"low", "mid", "high"}[c.rng.IntN(3)]}
	status, err := c.do(at, "POST", "/"+m+"/ask", question, &answer)
	switch {
	case status == http.StatusTooManyRequests && strings.Contains(err.Error(), `"budget"`):
		c.counts["refused"]++
		return nil
	case err == nil:
		c.counts["answered"]++
		c.dollars += answer.Dollars
	}
	return ignoreMissing(err)
}

// ignoreMissing passes over a memory of which nothing is left.
func ignoreMissing(err error) error {
	if err != nil && strings.Contains(err.Error(), ": 404 ") {
		return nil
	}
	return err
}

// add adds a turn, sometimes twice, and reads it from the other server.
func (c *soaked) add(at int, m string) error {
	c.n++
	session := fmt.Sprintf("c%d-%d", c.id, c.session[m])
	id, text := fmt.Sprintf("c%d-n%d", c.id, c.n), fmt.Sprintf("Client %d moved to town %d in year %d and told nobody.", c.id, c.n, c.rng.IntN(1000))
	body := map[string]any{"turns": []any{map[string]any{"id": id, "session": session, "speaker": fmt.Sprint("Client", c.id), "time": "3 May 2024", "text": text}}}
	var added memory.AddResult
	for i := range 1 + c.rng.IntN(4)/3 {
		if _, err := c.do((at+i)%len(c.addrs), "POST", "/"+m+"/turns", body, &added); err != nil {
			return err
		}
		if added.New+added.Skipped != 1 || i == 0 && added.New != 1 || i > 0 && added.New != 0 {
			return fmt.Errorf("adding %s, time %d: %+v", id, i, added)
		}
	}
	c.live[m][session+"/"+id] = text
	c.counts["added"]++
	var turn memory.Turn
	if _, err := c.do((at+1)%len(c.addrs), "GET", "/"+m+"/turns/"+id, nil, &turn); err != nil || turn.Text != text {
		return fmt.Errorf("%s at the other server: %+v, %w", id, turn, err)
	}
	if c.n%soakSession == 0 { // the sessions of all memories end
		for name := range c.session {
			if s := fmt.Sprintf("c%d-%d", c.id, c.session[name]); hasSession(c.live[name], s) {
				c.old = append(c.old, name+" "+s)
			}
			c.session[name]++
		}
	}
	return nil
}

func hasSession(live map[string]string, session string) bool {
	for key := range live {
		if strings.HasPrefix(key, session+"/") {
			return true
		}
	}
	return false
}
