//go:build !cgo || !linux

package freed

func trim() {}
