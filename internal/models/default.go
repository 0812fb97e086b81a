package models

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/budgetmem/budgetmem/internal/atomicfile"
)

// choice is the default answering model once settled, kept in the cache folder.
type choice struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
}

func (c *Catalogue) choiceFile() string { return filepath.Join(c.Dir, "default.json") }

// settled returns the choice made before, if its model is still here.
func (c *Catalogue) settled(ctx context.Context) (Model, string, bool) {
	var was choice
	data, err := os.ReadFile(c.choiceFile())
	if err != nil || json.Unmarshal(data, &was) != nil {
		return Model{}, "", false
	}
	m, err := c.Find(was.Name)
	if err != nil || !c.Present(ctx, m.Name) {
		return Model{}, "", false
	}
	return m, was.Reason, true
}

// settle keeps a choice for later calls.
func (c *Catalogue) settle(m Model, reason string) error {
	data, err := json.MarshalIndent(choice{m.Name, reason}, "", "  ")
	if err == nil {
		err = atomicfile.WriteFile(c.choiceFile(), append(data, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("settle on %s: %w", m.Name, err)
	}
	return nil
}

// Default returns the model that answers when none is named, and why it is that one, as one line for the user. A choice
// settled before holds as long as its model is present; else the first model is taken that is present, that the hub
// offers, or that wheels hold (Path then says how to get it). The hub is asked only for a model that only it has.
func (c *Catalogue) Default(ctx context.Context) (Model, string, error) {
	if m, why, ok := c.settled(ctx); ok {
		return m, why, nil
	}
	var others []string
	for _, name := range c.answering {
		m, err := c.Find(name)
		if err != nil {
			return Model{}, "", err
		}
		here := c.Present(ctx, name)
		if !here && len(m.Wheels) == 0 {
			if err := c.hub.answers(ctx, m); ctx.Err() != nil {
				return Model{}, "", ctx.Err()
			} else if err != nil {
				others = append(others, fmt.Sprintf("%s does not offer %s (%v)", c.hub.name(), name, err))
				continue
			}
		}
		why := reason(m, others)
		if here {
			// Where nothing can be written, the next call asks again: slower, not wrong.
			_ = c.settle(m, why)
		}
		return m, why, nil
	}
	return Model{}, "", fmt.Errorf("no default answering model: %s", strings.Join(others, "; "))
}

// PullDefault pulls the best answering model that any source has, and settles on it: later calls, and Default, return it
// without asking a source. With again it chooses again.
func (c *Catalogue) PullDefault(ctx context.Context, again bool, progress Progress) (Model, string, Pulled, error) {
	if !again {
		if m, why, ok := c.settled(ctx); ok {
			return m, why, Pulled{Path: c.place(m), Source: "cache"}, nil
		}
	}
	var failed []error
	var others []string
	for _, name := range c.answering {
		pulled, err := c.Pull(ctx, name, progress)
		if ctx.Err() != nil {
			return Model{}, "", Pulled{}, err
		}
		if err != nil {
			failed = append(failed, err)
			others = append(others, strings.Join(strings.Fields(err.Error()), " "))
			continue
		}
		m, err := c.Find(name)
		if err != nil {
			return Model{}, "", Pulled{}, err
		}
		why := reason(m, others)
		return m, why, pulled, c.settle(m, why)
	}
	return Model{}, "", Pulled{}, fmt.Errorf("no answering model could be had:\n%w", errors.Join(failed...))
}

// reason says in one line why m and not a better one.
func reason(m Model, others []string) string {
	text := m.Name + ": the best answering model in the list"
	if len(others) > 0 {
		text = m.Name + ", as nothing better could be had: " + strings.Join(others, "; ")
	}
	if m.Warning != "" {
		text += ". Warning: " + m.Warning
	}
	return text
}
