package queues

import (
	"bytes"
	"testing"
	"time"

	"vhost-user-nvgre/virtio"
)

// came sends a frame and fails the test unless exactly the ports named get it,
// unchanged and once.
func came(t *testing.T, from *nic, b []byte, all []*nic, want ...*nic) {
	t.Helper()
	from.send(0, virtio.NetHdr{}, b)
	from.reaped(0)
	for _, n := range all {
		expected := 0
		for _, w := range want {
			if w == n {
				expected = 1
			}
		}
		got := n.all(0)
		if len(got) != expected || expected == 1 && !bytes.Equal(got[0].b, b) {
			t.Errorf("frame %x from %s: %d frames at %s, want %d of it", b[:18], from.port.Name(), len(got), n.port.Name(), expected)
		}
	}
}

// Addresses are learned by VLAN: the same one may be behind one port in one
// VLAN and behind another in the next. A priority tag is no VLAN. Frames to
// groups go everywhere but back.
//
// Shows: VNET-053
func TestSwitchVLAN(t *testing.T) {
	e := newStill(t, 2)
	a, b, c := plug(t, e, 1, nicOptions{}), plug(t, e, 2, nicOptions{}), plug(t, e, 3, nicOptions{})
	all := []*nic{a, b, c}
	vlan := func(dst, src virtio.MAC, tci uint16) []byte { return tagged(frame(dst, src, 60), 0x8100, tci) }
	// otherMAC is behind b in VLAN 5, behind c in VLAN 6, unknown elsewhere.
	came(t, b, vlan(a.mac, otherMAC, 5), all, a, c)
	came(t, c, vlan(a.mac, otherMAC, 6), all, a, b)
	came(t, a, vlan(otherMAC, a.mac, 5), all, b)
	came(t, a, vlan(otherMAC, a.mac, 6), all, c)
	came(t, a, vlan(otherMAC, a.mac, 0xe006), all, c) // priority 7, VLAN 6
	came(t, a, vlan(otherMAC, a.mac, 7), all, b, c)
	came(t, a, frame(otherMAC, a.mac, 60), all, b, c)
	// Untagged and priority-tagged are one.
	came(t, b, vlan(a.mac, otherMAC, 0xe000), all, a)
	came(t, a, frame(otherMAC, a.mac, 60), all, b)
	came(t, c, frame(a.mac, otherMAC, 60), all, a)
	came(t, a, vlan(otherMAC, a.mac, 0x2000), all, c)
	// The outer tag of two counts.
	came(t, a, tagged(vlan(otherMAC, a.mac, 6), 0x88a8, 5), all, b)
	// Groups, in a VLAN and out of it.
	for _, dst := range []virtio.MAC{broadcast, groupMAC, listedMult} {
		came(t, a, frame(dst, a.mac, 60), all, b, c)
		came(t, b, vlan(dst, b.mac, 5), all, a, c)
	}
	// What comes from a group address is nothing.
	came(t, a, frame(b.mac, groupMAC, 60), all)
	a.drops(dropTxSourceMAC, 1)
	rows := map[string]string{}
	for _, r := range e.MACTable() {
		if r.MAC == otherMAC {
			rows[r.Port] = rows[r.Port] + string(rune('0'+r.VLAN))
		}
	}
	if rows["vm2"] != "5" || rows["vm3"] != "06" {
		t.Errorf("the table has otherMAC at %v, want vm2 with VLAN 5 and vm3 with 0 and 6", rows)
	}
}

// An address that is not heard of is forgotten; a port that goes takes its
// addresses with it; no port fills the table for others.
func TestSwitchForgets(t *testing.T) {
	e := newStill(t, 1)
	a, b, c := plug(t, e, 1, nicOptions{}), plug(t, e, 2, nicOptions{}), plug(t, e, 3, nicOptions{})
	all := []*nic{a, b, c}
	came(t, b, frame(a.mac, b.mac, 60), all, a, c)
	came(t, a, frame(b.mac, a.mac, 60), all, b)
	later := func(d time.Duration) { e.start = e.start.Add(-d) }
	later(200 * time.Second)
	came(t, a, frame(b.mac, a.mac, 60), all, b)
	later(200 * time.Second) // b was silent for 400 s, a for 200
	came(t, a, frame(b.mac, a.mac, 60), all, b, c)
	came(t, b, frame(a.mac, b.mac, 60), all, a)
	came(t, a, frame(b.mac, a.mac, 60), all, b)

	c.port.SetLink(false)
	came(t, a, frame(b.mac, a.mac, 60), all, b)
	c.port.SetLink(true)
	b.port.SetLink(false)
	came(t, a, frame(b.mac, a.mac, 60), all, c) // b's address is gone, and b takes nothing
	b.port.SetLink(true)
	came(t, b, frame(a.mac, b.mac, 60), all, a)
	b.remove()
	came(t, a, frame(b.mac, a.mac, 60), []*nic{a, c}, c)
	for _, r := range e.MACTable() {
		if r.Port == "vm2" {
			t.Errorf("the table has %+v of a port that is gone", r)
		}
	}

	// c floods the switch with addresses, a's stays.
	came(t, a, frame(c.mac, a.mac, 60), []*nic{a, c}, c)
	for i := range 4096 {
		c.send(0, virtio.NetHdr{}, frame(broadcast, virtio.MAC{0x52, 1, 2, 3, byte(i >> 8), byte(i)}, 60))
		a.all(0)
	}
	if rows := e.MACTable(); len(rows) > 1024 {
		t.Errorf("%d rows in a table for 1,024", len(rows))
	}
	d := plug(t, e, 4, nicOptions{})
	came(t, d, frame(a.mac, d.mac, 60), []*nic{a, c, d}, a)
}
