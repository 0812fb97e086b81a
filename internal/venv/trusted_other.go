//go:build !unix

package venv

// trusted accepts every file: owners and modes have another meaning here.
func trusted(string) error { return nil }
