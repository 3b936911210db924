//go:build !amd64 || purego

package checksum

// Bodies returns what this build has.
func Bodies() []Body { return []Body{genericBody(), dispatchBody()} }
