package conversation

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
)

const slackForm = "a Slack export"

// isSlack tells whether a message is one of Slack: it has a time stamp of seconds as text and a sender or a kind of its own.
func isSlack(m map[string]json.RawMessage) bool {
	var ts string
	if json.Unmarshal(m["ts"], &ts) != nil || firstText(m, "type") != "message" {
		return false
	}
	_, user := m["user"]
	_, bot := m["bot_id"]
	_, subtype := m["subtype"]
	return user || bot || subtype
}

// slackMark finds what Slack writes in angle brackets: <@U1>, <@U1|rita>, <#C1|general>, <!here>, <https://example.org|label>.
var slackMark = regexp.MustCompile(`<([@#!]?)([^<>|\s]+)(?:\|([^<>]*))?>`)

// slackText writes a message of Slack as it is shown. users are the names of people by their ids.
func slackText(s string, users map[string]string) string {
	s = slackMark.ReplaceAllStringFunc(s, func(mark string) string {
		m := slackMark.FindStringSubmatch(mark)
		kind, target, label := m[1], m[2], m[3]
		switch {
		case kind == "@" && users[target] != "":
			return "@" + users[target]
		case kind == "!" && label == "":
			return "@" + strings.TrimPrefix(target, "subteam^")
		case kind == "!":
			return label
		case kind != "" && label != "":
			return kind + label
		case kind != "":
			return kind + target
		case label != "" && label != target:
			return label + " (" + target + ")"
		}
		return strings.TrimPrefix(target, "mailto:")
	})
	return html.UnescapeString(s)
}

// slackUser is an entry of users.json.
type slackUser struct {
	ID, Name string
	RealName string `json:"real_name"`
	Profile  struct {
		DisplayName string `json:"display_name"`
		RealName    string `json:"real_name"`
	}
}

// slackChannel is an entry of channels.json, groups.json, mpims.json or dms.json.
type slackChannel struct {
	ID, Name string
	Members  []string
}

// dayFile is the name of a file of a Slack export with the messages of a day.
var dayFile = regexp.MustCompile(`^\d{4}-\d\d-\d\d\.json$`)

// isSlackExport tells whether a folder is one: it lists users or channels, and has folders of days.
func isSlackExport(folder fs.FS) bool {
	days, err := fs.Glob(folder, "*/*.json")
	return err == nil && slices.ContainsFunc(days, func(file string) bool { return dayFile.MatchString(path.Base(file)) })
}

// slack reads a Slack export: a folder for each channel, with a file for each day. Each day of a channel is a session.
func (c *collector) slack(folder fs.FS, name string) error {
	c.Form, c.users = slackForm, map[string]string{}
	var people []slackUser
	if err := c.readJSON(folder, name, "users.json", &people); err != nil {
		return err
	}
	for _, u := range people {
		for _, n := range []string{u.Profile.DisplayName, u.Profile.RealName, u.RealName, u.Name} {
			if n = strings.TrimSpace(n); n != "" {
				c.users[u.ID] = n
				break
			}
		}
	}
	called := map[string]string{} // of conversations whose folder is an id
	for _, list := range []string{"channels.json", "groups.json", "mpims.json", "dms.json"} {
		var channels []slackChannel
		if err := c.readJSON(folder, name, list, &channels); err != nil {
			return err
		}
		for _, ch := range channels {
			var members []string
			for _, m := range ch.Members {
				if n := c.users[m]; n != "" {
					members = append(members, n)
				}
			}
			if ch.Name == "" {
				called[ch.ID] = strings.Join(members, " and ")
			}
		}
	}
	entries, err := fs.ReadDir(folder, ".")
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		channel := e.Name()
		if called[channel] != "" {
			channel = called[channel]
		}
		days, err := fs.ReadDir(folder, e.Name())
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		for _, d := range days {
			if !dayFile.MatchString(d.Name()) {
				continue
			}
			file := path.Join(e.Name(), d.Name())
			if err := c.slackDay(folder, name, file, channel, strings.TrimSuffix(d.Name(), ".json")); err != nil {
				return err
			}
		}
	}
	return nil
}

// slackDay reads the messages of a channel and a day.
func (c *collector) slackDay(folder fs.FS, name, file, channel, day string) error {
	f, err := folder.Open(file)
	if err != nil {
		return fmt.Errorf("read %s: %w", path.Join(name, file), err)
	}
	defer f.Close()
	source := &failing{r: c.watch(f, 0)}
	in := newJSONReader(source)
	if in.dec.PeekKind() != '[' && source.err == nil {
		return &LineError{File: path.Join(name, file), Line: in.line(), Msg: "want a list of messages, as Slack exports a day"}
	}
	n := 0
	bad := in.list(func(raw []byte, line int) *LineError {
		n++
		fields, bad := object(raw)
		if bad != nil {
			bad.Line = line
			return bad
		}
		got, err := parseMessage(fields)
		switch {
		case err != nil:
			return &LineError{Line: line, Msg: fmt.Sprintf("message %d: %v", n, err)}
		case !c.take(got):
			return nil
		}
		t := got.turn
		day = cmp.Or(dayOf(t.Time), day)
		if name := c.users[firstText(fields, "user")]; name != "" {
			t.Speaker = name
		}
		t.Session, t.Text = channel+", "+day, slackText(t.Text, c.users)
		return c.add(t, line)
	})
	switch {
	case source.err != nil:
		return fmt.Errorf("read %s: %w", path.Join(name, file), source.err)
	case bad != nil:
		bad.File = path.Join(name, file)
		return bad
	}
	return nil
}

// readJSON reads a small file of a folder; a missing one leaves to as it is.
func (c *collector) readJSON(folder fs.FS, name, file string, to any) error {
	f, err := folder.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", path.Join(name, file), err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(c.watch(f, 0), maxValueBytes+1))
	if err != nil {
		return fmt.Errorf("read %s: %w", path.Join(name, file), err)
	}
	if len(data) > maxValueBytes {
		return fmt.Errorf("%s: more than %d MiB, which no list of people or channels has", path.Join(name, file), maxValueBytes>>20)
	}
	if err := json.Unmarshal(data, to); err != nil {
		return fmt.Errorf("%s: not as Slack exports it: %w", path.Join(name, file), err)
	}
	return nil
}
