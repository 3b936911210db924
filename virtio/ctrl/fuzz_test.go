package ctrl_test

import (
	"bytes"
	"fmt"
	"reflect"
	"testing"

	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/ctrl"
)

// samples has a command of every kind that everything() admits.
func samples() []ctrl.Command {
	mac := virtio.MAC{2, 0, 0, 0, 0, 1}
	list := []ctrl.Command{
		ctrl.MACTable{Unicast: []virtio.MAC{}, Multicast: []virtio.MAC{}},
		ctrl.MACTable{Unicast: []virtio.MAC{mac, {2}}, Multicast: []virtio.MAC{{0x33, 0x33}}},
		ctrl.MACAddr{MAC: mac},
		ctrl.VLAN{ID: 100, Add: true},
		ctrl.VLAN{ID: 4095},
		ctrl.AnnounceAck{},
		ctrl.Pairs{N: 3},
		ctrl.RSS{HashTypes: 5, Unclassified: 1, Table: []uint16{3, 2, 1, 0}, MaxTxVQ: 2, Key: bytes.Repeat([]byte{7}, 40)},
		ctrl.RSS{Table: []uint16{0}, MaxTxVQ: 1},
		ctrl.HashConfig{HashTypes: 0x3f, Key: []byte{1, 2, 3}},
		ctrl.GuestOffloads{On: virtio.FeatureGuestCSUM | virtio.FeatureGuestTSO6 | virtio.FeatureGuestECN},
		ctrl.Coal{CoalParams: ctrl.CoalParams{MaxPackets: 1, MaxUsecs: 1 << 31}},
		ctrl.Coal{Receive: true},
		ctrl.QueueCoal{VQ: 7, CoalParams: ctrl.CoalParams{MaxPackets: 3, MaxUsecs: 4}},
		ctrl.QueueCoalGet{VQ: 6},
		ctrl.HashTunnel{Types: 1 << 8},
		ctrl.StatsQuery{},
		ctrl.StatsGet{Requests: []ctrl.StatsRequest{{VQ: 2, Types: 3}, {VQ: 8, Types: 1 << 32}}},
	}
	for m := range ctrl.RXModes {
		list = append(list, ctrl.RX{Mode: ctrl.RXMode(m), On: m%2 == 0})
	}
	return list
}

func TestRoundTrip(t *testing.T) {
	l := everything()
	seen := map[[2]uint8]bool{}
	for _, want := range samples() {
		class, cmd := want.Code()
		seen[[2]uint8{class, cmd}] = true
		wire := want.AppendData([]byte{0xaa})
		got, err := l.Decode(class, cmd, wire[1:])
		if wire[0] != 0xaa || err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("Decode(AppendData(%#v)) = %#v, %v", want, got, err)
		}
	}
	// Every command the decoder knows is among the samples.
	zeros := make([]byte, 1000)
	for class := range 256 {
		for cmd := range 256 {
			_, err := l.Decode(uint8(class), uint8(cmd), zeros)
			known := err == nil || err.Error() != unknown(class, cmd)
			if known != seen[[2]uint8{uint8(class), uint8(cmd)}] {
				t.Errorf("class %d, command %d: known to the decoder %t, to this test %t", class, cmd, known, !known)
			}
		}
	}
}

// FuzzControl runs a control buffer through reading, decoding and answering.
// What is accepted must survive a round trip and be within the limits.
//
// Hostile: CVE-2020-10724, 6ec1778134, CVE-2026-86562
func FuzzControl(f *testing.F) {
	all := uint64(everything().Features)
	for _, c := range samples() {
		class, cmd := c.Code()
		f.Add(c.AppendData([]byte{class, cmd}), uint16(3), uint8(9), all, uint16(4), uint8(40), uint16(8))
	}
	f.Add([]byte{4, 1, 0, 0, 0, 0, 0xff, 0xff}, uint16(0), uint8(0), all, uint16(0x8000), uint8(255), uint16(0xffff))
	f.Fuzz(func(t *testing.T, b []byte, cut uint16, room uint8, features uint64, pairs uint16, keySize uint8, tableLen uint16) {
		l := ctrl.Limits{
			Features: virtio.Features(features), QueuePairs: pairs, KeySize: keySize, TableLen: tableLen,
			HashTypes: 0x1ff, TunnelTypes: 0x1ff, StatTypes: ^uint64(0),
		}
		at := min(int(cut), len(b))
		memory := make([]byte, room)
		var c ctrl.Chain
		if err := c.Read([][]byte{b[:at], nil, b[at:]}, [][]byte{memory[:room/2], memory[room/2:]}); err != nil {
			if room > 0 {
				c.Reply(false, nil)
			}
			return
		}
		got, err := l.Decode(c.Class, c.Cmd, c.Data)
		if n := c.Reply(err == nil, c.Data); int(n) > len(memory) || n == 0 {
			t.Fatalf("Reply wrote %d of %d bytes", n, len(memory))
		}
		if err != nil {
			return
		}
		class, cmd := got.Code()
		if class != c.Class || cmd != c.Cmd {
			t.Fatalf("Decode(%d, %d) = %#v, whose code is %d, %d", c.Class, c.Cmd, got, class, cmd)
		}
		again, err := l.Decode(class, cmd, got.AppendData(nil))
		if err != nil || !reflect.DeepEqual(again, got) {
			t.Fatalf("Decode(AppendData(%#v)) = %#v, %v", got, again, err)
		}
		checkLimits(t, &l, got)
	})
}

func checkLimits(t *testing.T, l *ctrl.Limits, c ctrl.Command) {
	t.Helper()
	ok := true
	switch c := c.(type) {
	case ctrl.Pairs:
		ok = c.N >= 1 && c.N <= l.QueuePairs
	case ctrl.VLAN:
		ok = c.ID < 4096
	case ctrl.MACAddr:
		ok = c.MAC[0]&1 == 0
	case ctrl.RSS:
		ok = len(c.Table) >= 1 && len(c.Table) <= int(l.TableLen) && len(c.Key) <= int(l.KeySize) &&
			c.Unclassified < l.QueuePairs && c.MaxTxVQ >= 1 && c.MaxTxVQ <= l.QueuePairs && c.HashTypes&^l.HashTypes == 0
		for n := len(c.Table); n > 1; n /= 2 {
			ok = ok && n%2 == 0
		}
		for _, q := range c.Table {
			ok = ok && q < l.QueuePairs
		}
	case ctrl.HashConfig:
		ok = len(c.Key) <= int(l.KeySize) && c.HashTypes&^l.HashTypes == 0
	case ctrl.GuestOffloads:
		ok = l.Features.Has(c.On)
	case ctrl.QueueCoal:
		ok = int(c.VQ) < 2*int(l.QueuePairs)
	case ctrl.QueueCoalGet:
		ok = int(c.VQ) < 2*int(l.QueuePairs)
	case ctrl.HashTunnel:
		ok = c.Types&^l.TunnelTypes == 0
	}
	if !ok {
		t.Fatalf("Decode accepted %#v with limits %+v", c, *l)
	}
}

func unknown(class, cmd int) string {
	return fmt.Sprintf("unknown command: class %d, command %d", class, cmd)
}
