//go:build !cgo || !linux

package osmem

func trim() {}
