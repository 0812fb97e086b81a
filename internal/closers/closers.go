// Package closers closes resources in the reverse order of their opening.
package closers

import "errors"

// Stack holds functions that close resources; the zero value is empty.
type Stack []func() error

// Add puts f on the stack.
func (s *Stack) Add(f func() error) { *s = append(*s, f) }

// Close calls everything, the last added first, also after a failure, and leaves the stack empty.
func (s *Stack) Close() error {
	var errs []error
	for i := len(*s) - 1; i >= 0; i-- {
		errs = append(errs, (*s)[i]())
	}
	*s = nil
	return errors.Join(errs...)
}
