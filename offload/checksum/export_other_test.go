//go:build !amd64 || purego

package checksum

import "vhost-user-nvgre/offload/internal/cpu"

// Bodies returns what this build has.
func Bodies() []Body { return []Body{genericBody(), dispatchBody()} }

// SetLevel has nothing to choose from.
func SetLevel(cpu.Level) (restore func()) { return func() {} }
