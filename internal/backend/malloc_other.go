//go:build !cgo || !linux

package backend

func giveBackFreedMemory() {}
