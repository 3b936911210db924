package vring_test

import (
	"testing"

	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/guestmem"
	"vhost-user-nvgre/virtio/vring"
	"vhost-user-nvgre/virtio/vringtest"
)

const (
	plain = virtio.FeatureVersion1 | virtio.FeatureIndirectDesc
	event = plain | virtio.FeatureEventIdx
)

// modes are the feature sets that differ in how notifications work.
var modes = []struct {
	name     string
	features virtio.Features
}{{"flags", plain}, {"event_idx", event}}

// rig is guest memory with a driver on one side and a ring on the other.
type rig struct {
	mem    *vringtest.Memory
	guest  *guestmem.Map
	driver *vringtest.Driver
	ring   vring.Ring
}

// memory returns size bytes of guest memory, mapped whole or as the regions.
func memory(t testing.TB, guest, size uint64, regions ...guestmem.RegionInfo) (*vringtest.Memory, *guestmem.Map) {
	t.Helper()
	mem, err := vringtest.NewMemory(guest, size)
	if err != nil {
		t.Fatal(err)
	}
	m, err := mem.Map(regions...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := vringtest.Unmap(m); err != nil {
			t.Error(err)
		}
		if err := mem.Close(); err != nil {
			t.Error(err)
		}
	})
	return mem, m
}

func newRig(t testing.TB, size uint32, f virtio.Features) *rig {
	t.Helper()
	mem, m := memory(t, 0x4000_0000, 2<<20)
	return attach(t, mem, m, size, f)
}

// attach lays a ring out and starts it.
func attach(t testing.TB, mem *vringtest.Memory, m *guestmem.Map, size uint32, f virtio.Features) *rig {
	t.Helper()
	r := &rig{mem: mem, guest: m, driver: vringtest.NewDriver(mem, size, f)}
	r.start(t, 0)
	return r
}

// start begins with the driver's ring as it is, from position base.
func (r *rig) start(t testing.TB, base uint16) {
	t.Helper()
	c := r.driver.Config()
	c.Base = uint32(base)
	ring, err := vring.New(r.guest, c)
	if err != nil {
		t.Fatal(err)
	}
	r.ring = ring
}

// take takes exactly n chains.
func (r *rig) take(t testing.TB, b *vring.Batch, n int) []vring.Chain {
	t.Helper()
	had := len(b.Chains)
	if got, err := r.ring.Take(b, n); got != n || err != nil {
		t.Fatalf("Take(%d) = %d, %v", n, got, err)
	}
	return b.Chains[had:]
}
