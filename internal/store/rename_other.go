//go:build !linux && !darwin && !windows

package store

func renameNew(from, to string) error { return renameChecked(from, to) }
