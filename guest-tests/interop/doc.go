// Package interop tests the daemon against front ends that are no virtual
// machines and share no code with it: DPDK's virtio-user.
package interop
