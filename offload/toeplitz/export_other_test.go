//go:build !amd64 || purego

package toeplitz

// Bodies returns what this build has.
func Bodies() []Body { return portableBodies() }

// SetBody has nothing to choose from.
func SetBody(_, _ bool) (restore func()) { return func() {} }
