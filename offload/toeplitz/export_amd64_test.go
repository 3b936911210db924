//go:build !purego

package toeplitz

import "vhost-user-nvgre/offload/internal/cpu"

// Bodies returns what this processor can run.
func Bodies() []Body {
	all := portableBodies()
	if len(cpu.Levels()) < 2 {
		return all
	}
	all = append(all, Body{"clmul", ipv4CLMUL, ipv4HeaderCLMUL, ipv6CLMUL, ipv6HeaderCLMUL})
	if cpu.CanVPCLMUL() {
		all = append(all, Body{"vpclmul", ipv4CLMUL, ipv4HeaderCLMUL, ipv6VPCLMUL, ipv6HeaderVPCLMUL})
	}
	return all
}

// SetBody makes the public functions use no more than the given extensions
// until restore is called.
func SetBody(clmul, vpclmul bool) (restore func()) {
	c, v := useCLMUL, useVPCLMUL
	useCLMUL, useVPCLMUL = c && clmul, v && vpclmul
	return func() { useCLMUL, useVPCLMUL = c, v }
}
