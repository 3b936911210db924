package ctrl_test

import (
	"bytes"
	"encoding/hex"
	"reflect"
	"strings"
	"testing"

	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/ctrl"
)

// everything negotiated on a device with four queue pairs.
func everything() ctrl.Limits {
	return ctrl.Limits{
		Features: virtio.FeatureCtrlVQ | virtio.FeatureCtrlRX | virtio.FeatureCtrlRXExtra | virtio.FeatureCtrlVLAN |
			virtio.FeatureCtrlMACAddr | virtio.FeatureGuestAnnounce | virtio.FeatureMQ | virtio.FeatureRSS |
			virtio.FeatureHashReport | virtio.FeatureHashTunnel | virtio.FeatureNotfCoal | virtio.FeatureVQNotfCoal |
			virtio.FeatureDeviceStats | virtio.FeatureCtrlGuestOffload | virtio.FeatureCSUM | virtio.FeatureGuestCSUM |
			virtio.FeatureGuestTSO4 | virtio.FeatureGuestTSO6 | virtio.FeatureGuestECN | virtio.FeatureGuestUSO4 |
			virtio.FeatureHostTSO4 | virtio.FeatureGuestHdrLen,
		QueuePairs:  4,
		KeySize:     40,
		TableLen:    8,
		HashTypes:   0x3f,
		TunnelTypes: 1 << 8,
		StatTypes:   1<<0 | 1<<1 | 1<<16 | 1<<18 | 1<<32,
	}
}

// without removes features from a copy of everything.
func without(f virtio.Features) ctrl.Limits {
	l := everything()
	l.Features &^= f
	return l
}

// data turns hexadecimal digits, with spaces, into bytes.
func data(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatalf("test data %q: %v", s, err)
	}
	return b
}

// Shows: VNET-110, VNET-113, VNET-118, VNET-120, VNET-123, VNET-082, VNET-086, VNET-096, VNET-141, VNET-142, VNET-155, VNET-157, VNET-171, VNET-180, VNET-102
func TestDecode(t *testing.T) {
	key40 := strings.Repeat("6d5a56da25", 8)
	macA, macB := virtio.MAC{2, 0, 0, 0, 0, 0xa}, virtio.MAC{2, 0, 0, 0, 0, 0xb}
	group := virtio.MAC{1, 0, 0x5e, 0, 0, 1}
	tests := []struct {
		name       string
		class, cmd uint8
		data       string
		want       ctrl.Command
		err        string // part of the message instead
	}{
		{"promisc on", 0, 0, "01", ctrl.RX{Mode: ctrl.Promisc, On: true}, ""},
		{"promisc off", 0, 0, "00", ctrl.RX{Mode: ctrl.Promisc}, ""},
		{"promisc 2 counts as on", 0, 0, "02", ctrl.RX{Mode: ctrl.Promisc, On: true}, ""},
		{"promisc 255 counts as on", 0, 0, "ff", ctrl.RX{Mode: ctrl.Promisc, On: true}, ""},
		{"allmulti", 0, 1, "01", ctrl.RX{Mode: ctrl.AllMulti, On: true}, ""},
		{"alluni", 0, 2, "01", ctrl.RX{Mode: ctrl.AllUni, On: true}, ""},
		{"nomulti", 0, 3, "01", ctrl.RX{Mode: ctrl.NoMulti, On: true}, ""},
		{"nouni", 0, 4, "01", ctrl.RX{Mode: ctrl.NoUni, On: true}, ""},
		{"nobcast", 0, 5, "01", ctrl.RX{Mode: ctrl.NoBcast, On: true}, ""},
		{"mode without data", 0, 0, "", nil, "RX_PROMISC: 0 bytes of data, want 1"},
		{"mode with surplus data", 0, 5, "0100", nil, "RX_NOBCAST: 2 bytes of data, want 1"},
		{"unknown mode", 0, 6, "01", nil, "unknown command: class 0, command 6"},

		{"empty tables", 1, 0, "00000000 00000000", ctrl.MACTable{Unicast: []virtio.MAC{}, Multicast: []virtio.MAC{}}, ""},
		{
			"both tables", 1, 0, "02000000 02000000000a 02000000000b 01000000 01005e000001",
			ctrl.MACTable{Unicast: []virtio.MAC{macA, macB}, Multicast: []virtio.MAC{group}},
			"",
		},
		{"no table", 1, 0, "", nil, "unicast table: 0 bytes where the number of entries should be"},
		{"half a count", 1, 0, "0000", nil, "unicast table: 2 bytes"},
		{"one table only", 1, 0, "01000000 02000000000a", nil, "multicast table: 0 bytes where"},
		{"unicast count too large", 1, 0, "02000000 02000000000a 00000000", nil, "unicast table: 2 entries of 6 bytes announced, 10 bytes there"},
		{"unicast count enormous", 1, 0, "ffffffff 00000000", nil, "unicast table: 4294967295 entries"},
		// 6*0x2aaaaaab wraps to 2 in 32 bits.
		{"unicast count wraps", 1, 0, "abaaaa2a 0000 00000000", nil, "unicast table: 715827883 entries"},
		{"multicast count too large", 1, 0, "00000000 01000000 01005e0000", nil, "multicast table: 1 entries of 6 bytes announced, 5 bytes there"},
		{"byte after the tables", 1, 0, "00000000 00000000 00", nil, "1 bytes of data after the multicast table"},

		{"address", 1, 1, "02000000000a", ctrl.MACAddr{MAC: macA}, ""},
		{"group address", 1, 1, "01005e000001", nil, "01:00:5e:00:00:01 is a group address"},
		{"broadcast address", 1, 1, "ffffffffffff", nil, "ff:ff:ff:ff:ff:ff is a group address"},
		{"short address", 1, 1, "0200000000", nil, "MAC_ADDR_SET: 5 bytes of data, want 6"},
		{"long address", 1, 1, "02000000000a00", nil, "7 bytes of data, want 6"},
		{"unknown MAC command", 1, 2, "", nil, "unknown command: class 1, command 2"},

		{"VLAN 0", 2, 0, "0000", ctrl.VLAN{Add: true}, ""},
		{"VLAN 4095", 2, 0, "ff0f", ctrl.VLAN{ID: 4095, Add: true}, ""},
		{"VLAN 4096", 2, 0, "0010", nil, "VLAN_ADD: VLAN id 4096, want 0 to 4095"},
		{"VLAN 65535", 2, 1, "ffff", nil, "VLAN_DEL: VLAN id 65535"},
		{"VLAN off", 2, 1, "0100", ctrl.VLAN{ID: 1}, ""},
		{"short VLAN", 2, 0, "01", nil, "1 bytes of data, want 2"},
		{"long VLAN", 2, 1, "010000", nil, "3 bytes of data, want 2"},

		{"announce", 3, 0, "", ctrl.AnnounceAck{}, ""},
		{"announce with data", 3, 0, "00", nil, "ANNOUNCE_ACK: 1 bytes of data, want 0"},

		{"one pair", 4, 0, "0100", ctrl.Pairs{N: 1}, ""},
		{"all pairs", 4, 0, "0400", ctrl.Pairs{N: 4}, ""},
		{"no pair", 4, 0, "0000", nil, "MQ_VQ_PAIRS_SET: 0 queue pairs, want 1 to 4"},
		{"too many pairs", 4, 0, "0500", nil, "5 queue pairs, want 1 to 4"},
		{"65535 pairs", 4, 0, "ffff", nil, "65535 queue pairs"},
		{"long pairs", 4, 0, "01000000", nil, "4 bytes of data, want 2"},

		{
			"RSS", 4, 1, "3f000000 0300 0100 0000 0100 0200 0300 0400 28" + key40,
			ctrl.RSS{HashTypes: 0x3f, Unclassified: 1, Table: []uint16{0, 1, 2, 3}, MaxTxVQ: 4, Key: data(t, key40)},
			"",
		},
		{
			"RSS, one entry, no key", 4, 1, "00000000 0000 0300 0200 0100 00",
			ctrl.RSS{Unclassified: 3, Table: []uint16{2}, MaxTxVQ: 1},
			"",
		},
		{
			"RSS, largest table", 4, 1, "00000000 0700 0000" + strings.Repeat("0300", 8) + "0100 00",
			ctrl.RSS{Table: []uint16{3, 3, 3, 3, 3, 3, 3, 3}, MaxTxVQ: 1},
			"",
		},
		{"RSS, nothing", 4, 1, "", nil, "MQ_RSS_CONFIG: 0 bytes of data, want at least 11"},
		{"RSS, cut in the fixed part", 4, 1, "00000000 0000 0000 0000", nil, "10 bytes of data, want at least 11"},
		{"RSS, table cut", 4, 1, "00000000 0300 0000 0000 0000 0000", nil, "want at least 19 for an indirection table of 4 entries"},
		{"RSS, three entries", 4, 1, "00000000 0200 0000 0000 0000 0000 0100 00", nil, "indirection table of 3 entries, want a power of two up to 8"},
		{"RSS, sixteen entries", 4, 1, "00000000 0f00 0000" + strings.Repeat("0000", 16) + "0100 00", nil, "indirection table of 16 entries"},
		{"RSS, mask 65535", 4, 1, "00000000 ffff 0000 0000 0100 00", nil, "indirection table of 65536 entries"},
		{"RSS, entry beyond", 4, 1, "00000000 0100 0000 0000 0400 0100 00", nil, "entry 1 of the indirection table: receive queue 4, want 0 to 3"},
		{"RSS, entry with reserved bit", 4, 1, "00000000 0000 0000 0080 0100 00", nil, "receive queue 32768"},
		{"RSS, unclassified beyond", 4, 1, "00000000 0000 0400 0000 0100 00", nil, "unclassified queue: receive queue 4"},
		{"RSS, no transmit queue", 4, 1, "00000000 0000 0000 0000 0000 00", nil, "0 transmit queues, want 1 to 4"},
		{"RSS, too many transmit queues", 4, 1, "00000000 0000 0000 0000 0500 00", nil, "5 transmit queues"},
		{"RSS, hash type", 4, 1, "40000000 0000 0000 0000 0100 00", nil, "hash types 0x40, of which 0x40 are not supported"},
		{"RSS, long key", 4, 1, "00000000 0000 0000 0000 0100 29" + key40 + "00", nil, "hash key of 41 bytes, want at most 40"},
		{"RSS, key cut", 4, 1, "00000000 0000 0000 0000 0100 0200", nil, "1 bytes where the hash key should be, want 2"},
		{"RSS, padded as by Linux", 4, 1, "00000000 0000 0000 0000 0100 02112200", ctrl.RSS{Table: []uint16{0}, MaxTxVQ: 1, Key: []byte{0x11, 0x22}}, ""},

		{
			"hash", 4, 2, "07000000 0000000000000000 28" + key40,
			ctrl.HashConfig{HashTypes: 7, Key: data(t, key40)},
			"",
		},
		{"hash, reserved fields as Linux leaves them", 4, 2, "07000000 0000000000000400 00", ctrl.HashConfig{HashTypes: 7}, ""},
		{"hash, short", 4, 2, "07000000 0000000000000000", nil, "MQ_HASH_CONFIG: 12 bytes of data, want at least 13"},
		{"hash, type", 4, 2, "c0000000 0000000000000000 00", nil, "hash types 0xc0"},
		{"hash, long key", 4, 2, "07000000 0000000000000000 29" + key40 + "00", nil, "hash key of 41 bytes"},
		{"hash, padded as by Linux", 4, 2, "07000000 0000000000000000 01 1100", ctrl.HashConfig{HashTypes: 7, Key: []byte{0x11}}, ""},
		{"unknown MQ command", 4, 3, "", nil, "unknown command: class 4, command 3"},

		{"offloads off", 5, 0, "0000000000000000", ctrl.GuestOffloads{}, ""},
		{
			"offloads", 5, 0, "8203000000004000",
			ctrl.GuestOffloads{On: virtio.FeatureGuestCSUM | virtio.FeatureGuestTSO4 | virtio.FeatureGuestTSO6 | virtio.FeatureGuestECN | virtio.FeatureGuestUSO4},
			"",
		},
		{"offloads with bit 59", 5, 0, "0200000000000008", ctrl.GuestOffloads{On: virtio.FeatureGuestCSUM}, ""},
		{"TSO without CSUM", 5, 0, "8003000000000000", ctrl.GuestOffloads{}, ""},
		{"ECN without TSO", 5, 0, "0202000000000000", ctrl.GuestOffloads{On: virtio.FeatureGuestCSUM}, ""},
		{"offload not negotiated", 5, 0, "0204000000000000", nil, "offloads guest_ufo are not"},
		{"feature that is no offload", 5, 0, "0100000000000000", nil, "offloads csum are not"},
		{"unknown offload", 5, 0, "0000000000000080", nil, "offloads speed_duplex are not"},
		{"short offloads", 5, 0, "00000000", nil, "GUEST_OFFLOADS_SET: 4 bytes of data, want 8"},

		{"coalescing, transmit", 6, 0, "10000000 40000000", ctrl.Coal{CoalParams: ctrl.CoalParams{MaxPackets: 16, MaxUsecs: 64}}, ""},
		{"coalescing, receive", 6, 1, "ffffffff 00000000", ctrl.Coal{Receive: true, CoalParams: ctrl.CoalParams{MaxPackets: 0xffffffff}}, ""},
		{"coalescing, short", 6, 1, "ffffffff", nil, "NOTF_COAL_RX_SET: 4 bytes of data, want 8"},
		{"coalescing, queue", 6, 2, "0700 ffff 01000000 02000000", ctrl.QueueCoal{VQ: 7, CoalParams: ctrl.CoalParams{MaxPackets: 1, MaxUsecs: 2}}, ""},
		{"coalescing, control queue", 6, 2, "0800 0000 01000000 02000000", nil, "NOTF_COAL_VQ_SET: virtqueue 8, want a receive or transmit queue, 0 to 7"},
		{"coalescing, queue, short", 6, 2, "0000 0000", nil, "4 bytes of data, want 12"},
		{"coalescing, get", 6, 3, "0000 ffff", ctrl.QueueCoalGet{}, ""},
		{"coalescing, get beyond", 6, 3, "ffff 0000", nil, "virtqueue 65535"},
		{"coalescing, get, long", 6, 3, "0000 0000 00000000 00000000", nil, "12 bytes of data, want 4"},
		{"unknown coalescing command", 6, 4, "", nil, "unknown command"},

		{"tunnels off", 7, 0, "00000000", ctrl.HashTunnel{}, ""},
		{"NVGRE", 7, 0, "00010000", ctrl.HashTunnel{Types: 1 << 8}, ""},
		{"VXLAN", 7, 0, "10010000", nil, "tunnel types 0x110, of which 0x10 are not supported"},
		{"tunnels, short", 7, 0, "0001", nil, "HASH_TUNNEL_SET: 2 bytes of data, want 4"},

		{"statistics, query", 8, 0, "", ctrl.StatsQuery{}, ""},
		{"statistics, query with data", 8, 0, "00", nil, "STATS_QUERY: 1 bytes of data, want 0"},
		{
			"statistics", 8, 1,
			"0000 ffffffffffff 0300000000000000" + "0100 000000000000 0000050000000000" + "0800 000000000000 0000000001000000",
			ctrl.StatsGet{Requests: []ctrl.StatsRequest{{VQ: 0, Types: 3}, {VQ: 1, Types: 5 << 16}, {VQ: 8, Types: 1 << 32}}},
			"",
		},
		{"statistics of no type", 8, 1, "0200 000000000000 0000000000000000", ctrl.StatsGet{Requests: []ctrl.StatsRequest{{VQ: 2}}}, ""},
		{"no statistics", 8, 1, "", nil, "STATS_GET: 0 bytes of data, want a multiple of 16"},
		{"statistics, cut", 8, 1, "0000 000000000000 01000000", nil, "12 bytes of data"},
		{"transmit statistics of a receive queue", 8, 1, "0000 000000000000 0000010000000000", nil, "request 0: statistics 0x10000 of virtqueue 0, of which 0x10000 are not supported there"},
		{"receive statistics of a transmit queue", 8, 1, "0300 000000000000 0100000000000000", nil, "virtqueue 3"},
		{"data statistics of the control queue", 8, 1, "0800 000000000000 0100000000000000", nil, "virtqueue 8"},
		{"control statistics of a receive queue", 8, 1, "0000 000000000000 0000000001000000", nil, "virtqueue 0"},
		{"statistics not kept", 8, 1, "0000 000000000000 0800000000000000", nil, "of which 0x8"},
		{"statistics that do not exist", 8, 1, "0000 000000000000 0000000000000080", nil, "not supported"},
		{"statistics of no queue", 8, 1, "0900 000000000000 0000000000000000", nil, "virtqueue 9, want 0 to 8"},
		{"second request bad", 8, 1, "0000 000000000000 0100000000000000" + "ffff 000000000000 0000000000000000", nil, "request 1"},
		{"unknown statistics command", 8, 2, "", nil, "unknown command"},

		{"unknown class", 9, 0, "", nil, "unknown command: class 9, command 0"},
		{"last class", 255, 255, "00", nil, "unknown command: class 255, command 255"},
	}
	for _, tt := range tests {
		l := everything()
		got, err := l.Decode(tt.class, tt.cmd, data(t, tt.data))
		checkDecode(t, tt.name, got, err, tt.want, tt.err)
	}
}

func checkDecode(t *testing.T, name string, got ctrl.Command, err error, want ctrl.Command, wantErr string) {
	t.Helper()
	switch {
	case wantErr != "":
		if err == nil || !strings.Contains(err.Error(), wantErr) || got != nil {
			t.Errorf("%s: Decode = %+v, %v; want nil and an error with %q", name, got, err, wantErr)
		}
	case err != nil || !reflect.DeepEqual(got, want):
		t.Errorf("%s: Decode = %+v, %v; want %+v", name, got, err, want)
	}
}

// Shows: VNET-180, VNET-110
func TestDecodeNeedsFeature(t *testing.T) {
	// A valid command of each kind, and the features of which it needs one.
	tests := []struct {
		cmd   ctrl.Command
		needs []virtio.Features
	}{
		{ctrl.RX{Mode: ctrl.Promisc}, []virtio.Features{virtio.FeatureCtrlRX}},
		{ctrl.RX{Mode: ctrl.AllMulti}, []virtio.Features{virtio.FeatureCtrlRX}},
		{ctrl.RX{Mode: ctrl.AllUni}, []virtio.Features{virtio.FeatureCtrlRXExtra}},
		{ctrl.RX{Mode: ctrl.NoMulti}, []virtio.Features{virtio.FeatureCtrlRXExtra}},
		{ctrl.RX{Mode: ctrl.NoUni}, []virtio.Features{virtio.FeatureCtrlRXExtra}},
		{ctrl.RX{Mode: ctrl.NoBcast}, []virtio.Features{virtio.FeatureCtrlRXExtra}},
		{ctrl.MACTable{}, []virtio.Features{virtio.FeatureCtrlRX}},
		{ctrl.MACAddr{}, []virtio.Features{virtio.FeatureCtrlRX, virtio.FeatureCtrlMACAddr}},
		{ctrl.VLAN{Add: true}, []virtio.Features{virtio.FeatureCtrlVLAN}},
		{ctrl.VLAN{}, []virtio.Features{virtio.FeatureCtrlVLAN}},
		{ctrl.AnnounceAck{}, []virtio.Features{virtio.FeatureGuestAnnounce}},
		{ctrl.Pairs{N: 1}, []virtio.Features{virtio.FeatureMQ}},
		{ctrl.RSS{Table: []uint16{0}, MaxTxVQ: 1}, []virtio.Features{virtio.FeatureRSS}},
		{ctrl.HashConfig{}, []virtio.Features{virtio.FeatureHashReport}},
		{ctrl.GuestOffloads{}, []virtio.Features{virtio.FeatureCtrlGuestOffload}},
		{ctrl.Coal{}, []virtio.Features{virtio.FeatureNotfCoal}},
		{ctrl.Coal{Receive: true}, []virtio.Features{virtio.FeatureNotfCoal}},
		{ctrl.QueueCoal{}, []virtio.Features{virtio.FeatureVQNotfCoal}},
		{ctrl.QueueCoalGet{}, []virtio.Features{virtio.FeatureVQNotfCoal}},
		{ctrl.HashTunnel{}, []virtio.Features{virtio.FeatureHashTunnel}},
		{ctrl.StatsQuery{}, []virtio.Features{virtio.FeatureDeviceStats}},
		{ctrl.StatsGet{Requests: []ctrl.StatsRequest{{}}}, []virtio.Features{virtio.FeatureDeviceStats}},
	}
	for _, tt := range tests {
		class, cmd := tt.cmd.Code()
		name := ctrl.Name(class, cmd)
		var all virtio.Features
		for _, f := range tt.needs {
			all |= f
			l := without(^f) // f alone suffices
			if _, err := l.Decode(class, cmd, tt.cmd.AppendData(nil)); err != nil {
				t.Errorf("%s with %s alone: %v", name, f, err)
			}
		}
		l := without(all)
		got, err := l.Decode(class, cmd, tt.cmd.AppendData(nil))
		if err == nil || got != nil || !strings.HasPrefix(err.Error(), name+": needs feature ") {
			t.Errorf("%s without %s: Decode = %v, %v; want an error", name, all, got, err)
		}
	}
}

// Each feature that statistics depend on, taken away.
//
// Shows: VNET-171
func TestStatsFollowFeatures(t *testing.T) {
	tests := []struct {
		gone virtio.Features
		want uint64
	}{
		{0, 0x1_000f_000f},
		{virtio.FeatureGuestCSUM, 0x1_000f_000d},
		{virtio.FeatureCSUM, 0x1_000d_000f},
		{virtio.FeatureGuestTSO4, 0x1_000f_000f},
		{virtio.FeatureGuestTSO4 | virtio.FeatureGuestTSO6, 0x1_000f_000b},
		{virtio.FeatureHostTSO4 | virtio.FeatureHostTSO6, 0x1_000f_000f},
		{virtio.FeatureHostUSO, 0x1_000f_000f},
		{virtio.FeatureHostTSO4 | virtio.FeatureHostTSO6 | virtio.FeatureHostUSO, 0x1_000b_000f},
		{^virtio.FeatureDeviceStats, 0x1_0009_0009},
	}
	for _, tt := range tests {
		l := ctrl.Limits{Features: ^tt.gone, QueuePairs: 1, StatTypes: ^uint64(0)}
		if got := l.Stats(); got != tt.want {
			t.Errorf("Stats without %s = 0x%x, want 0x%x", tt.gone, got, tt.want)
		}
		l.StatTypes = ctrl.StatRXBasic
		if got := l.Stats(); got != 1 {
			t.Errorf("Stats of a device that keeps RX_BASIC = 0x%x, want 1", got)
		}
	}
}

// The control queue sits at 2N once several pairs can be used, else at 2.
func TestStatsControlQueueIndex(t *testing.T) {
	request := func(vq uint16) []byte {
		return ctrl.StatsGet{Requests: []ctrl.StatsRequest{{VQ: vq, Types: ctrl.StatCVQ}}}.AppendData(nil)
	}
	for _, tt := range []struct {
		features virtio.Features
		pairs    uint16
		want     uint16
	}{
		{0, 4, 2},
		{virtio.FeatureMQ, 4, 8},
		{virtio.FeatureRSS, 4, 8},
		{virtio.FeatureMQ, 1, 2},
		{virtio.FeatureMQ, 0x7fff, 0xfffe},
	} {
		l := ctrl.Limits{Features: tt.features | virtio.FeatureDeviceStats, QueuePairs: tt.pairs, StatTypes: ctrl.StatCVQ}
		for _, vq := range []uint16{0, 1, 2, 3, 7, 8, 9, 0xfffe, 0xffff} {
			_, err := l.Decode(ctrl.ClassStats, 1, request(vq))
			if (err == nil) != (vq == tt.want) {
				t.Errorf("%s, %d pairs: STATS_GET CVQ of virtqueue %d: %v; the control queue is %d", tt.features, tt.pairs, vq, err, tt.want)
			}
		}
	}
}

func TestResults(t *testing.T) {
	if got, want := (ctrl.CoalParams{MaxPackets: 0x01020304, MaxUsecs: 0x05060708}).Append(nil), data(t, "04030201 08070605"); !bytes.Equal(got, want) {
		t.Errorf("CoalParams.Append = %x, want %x", got, want)
	}
	if got, want := ctrl.AppendStatTypes(nil, 1<<32|1), data(t, "0100000001000000"); !bytes.Equal(got, want) {
		t.Errorf("AppendStatTypes = %x, want %x", got, want)
	}
}

func TestAppendStats(t *testing.T) {
	for _, tt := range []struct {
		typ      uint64
		number   byte
		counters int
		size     uint16
	}{
		{ctrl.StatCVQ, 32, 2, 24},
		{ctrl.StatRXBasic, 0, 6, 56},
		{ctrl.StatTXBasic, 16, 6, 56},
		{ctrl.StatRXCsum, 1, 4, 40},
		{ctrl.StatTXCsum, 17, 2, 24},
		{ctrl.StatRXGSO, 2, 4, 40},
		{ctrl.StatTXGSO, 18, 6, 56},
		{ctrl.StatRXSpeed, 3, 2, 24},
		{ctrl.StatTXSpeed, 19, 2, 24},
	} {
		counters := make([]uint64, tt.counters)
		want := []byte{9, tt.number, 0, 0x34, 0x12, 0, 0, byte(tt.size), 0}
		for i := range counters {
			counters[i] = ^uint64(i)
			want = append(want, ^byte(i), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)
		}
		if got := ctrl.AppendStats([]byte{9}, 0x1234, tt.typ, counters...); !bytes.Equal(got, want) {
			t.Errorf("AppendStats(0x1234, 0x%x) = %x, want %x", tt.typ, got, want)
		}
	}
}

func TestModeNames(t *testing.T) {
	want := []string{"promisc", "allmulti", "alluni", "nomulti", "nouni", "nobcast", "mode 6"}
	for i, w := range want {
		if got := ctrl.RXMode(i).String(); got != w {
			t.Errorf("RXMode(%d).String() = %q, want %q", i, got, w)
		}
	}
	if got := ctrl.Name(200, 3); got != "class 200 command 3" {
		t.Errorf("Name(200, 3) = %q", got)
	}
}
