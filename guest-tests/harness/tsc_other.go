//go:build !amd64

package harness

func tscKHz() int { return 0 }
