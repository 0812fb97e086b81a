package memory

import (
	"fmt"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Scope says what a caller may reach. The zero value reaches every memory by name.
type Scope struct {
	// Namespace keeps callers apart: all names are looked up below it and shown without it. It must hold no slash.
	Namespace string
	// Memory is the only memory, if not "", so that requests need not name one.
	Memory string
	// Account pays for questions; nil for no limit and no record.
	Account Account
}

// CheckName refuses what is no name of a memory or namespace.
func CheckName(name string) error {
	if name == "" || utf8.RuneCountInString(name) > MaxName || !utf8.ValidString(name) || name == "." || name == ".." || strings.Contains(name, "/") || strings.ContainsFunc(name, unicode.IsControl) || strings.TrimSpace(name) != name {
		return fmt.Errorf("a name has 1 to %d characters, is not . or .., and has no slash, no control character and no space at its ends", MaxName)
	}
	return nil
}

// name returns the stored name of a memory.
func (s Scope) name(memory string) (string, error) {
	switch {
	case s.Memory != "" && memory == "":
		memory = s.Memory
	case s.Memory != "" && memory != s.Memory:
		return "", &Error{Status: http.StatusForbidden, Message: fmt.Sprintf("this connection is for the memory %q alone", s.Memory)}
	case memory == "":
		return "", bad("memory: name the memory")
	}
	if err := CheckName(memory); err != nil {
		return "", bad("memory: %v", err)
	}
	if s.Namespace != "" {
		return s.Namespace + "/" + memory, nil
	}
	return memory, nil
}

// Of is the scope narrowed to one memory.
func (s Scope) Of(memory string) (Scope, error) {
	if _, err := s.name(memory); err != nil {
		return Scope{}, err
	}
	s.Memory = memory
	return s, nil
}

// shown returns the name of a stored memory as a scope shows it; ok is false if it may not see it.
func (s Scope) shown(stored string) (name string, ok bool) {
	namespace, name, cut := strings.Cut(stored, "/")
	if !cut {
		namespace, name = "", stored
	}
	// A name that no request may give is of no tenant, such as that of a data set's memory.
	return name, namespace == s.Namespace && (s.Memory == "" || name == s.Memory) && CheckName(name) == nil
}
