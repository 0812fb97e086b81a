// Package settings changes a struct of settings field by field, by the names of its JSON keys.
package settings

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Set changes one setting, given as key=value. An unknown key or a value of another type is an error and changes nothing.
func Set[T any](settings *T, assignment string) error {
	key, value, ok := strings.Cut(assignment, "=")
	if !ok {
		return fmt.Errorf("setting %q: give key=value", assignment)
	}
	name, err := json.Marshal(strings.TrimSpace(key))
	if err != nil {
		return fmt.Errorf("setting %q: %w", assignment, err)
	}
	return Merge(settings, fmt.Appendf(nil, "{%s: %s}", name, strings.TrimSpace(value)))
}

// Merge takes over the settings of a JSON object. An unknown key or a value of another type is an error and changes nothing.
func Merge[T any](settings *T, object []byte) error {
	merged := *settings
	dec := json.NewDecoder(bytes.NewReader(object))
	dec.DisallowUnknownFields()
	err := dec.Decode(&merged)
	if err == nil && dec.More() {
		err = errors.New("more than one object")
	}
	if err != nil {
		return fmt.Errorf("settings %s: %w", bytes.TrimSpace(object), err)
	}
	*settings = merged
	return nil
}
