package virtio_test

import (
	"encoding/hex"
	"strings"
	"testing"

	"vhost-user-nvgre/virtio"
)

// Every field sits where the specification has it, alone and together.
//
// Shows: VNET-007
func TestNetConfigEncode(t *testing.T) {
	zero := strings.Repeat("00", 28)
	at := func(off int, digits string) string { return zero[:2*off] + digits + zero[2*off+len(digits):] }
	for _, tt := range []struct {
		name string
		c    virtio.NetConfig
		want string
	}{
		{"zero", virtio.NetConfig{}, zero},
		{"mac", virtio.NetConfig{MAC: virtio.MAC{1, 2, 3, 4, 5, 6}}, at(0, "010203040506")},
		{"status", virtio.NetConfig{Status: 0x0102}, at(6, "0201")},
		{"max_virtqueue_pairs", virtio.NetConfig{QueuePairs: 0x8000}, at(8, "0080")},
		{"mtu", virtio.NetConfig{MTU: 9000}, at(10, "2823")},
		{"speed", virtio.NetConfig{Speed: 0x01020304}, at(12, "04030201")},
		{"unknown speed", virtio.NetConfig{Speed: virtio.SpeedUnknown}, at(12, "ffffffff")},
		{"full duplex", virtio.NetConfig{Duplex: virtio.DuplexFull}, at(16, "01")},
		{"unknown duplex", virtio.NetConfig{Duplex: virtio.DuplexUnknown}, at(16, "ff")},
		{"rss_max_key_size", virtio.NetConfig{RSSMaxKeySize: virtio.RSSKeySize}, at(17, "28")},
		{"rss_max_indirection_table_length", virtio.NetConfig{RSSMaxTableLen: virtio.RSSTableSize}, at(18, "8000")},
		{"supported_hash_types", virtio.NetConfig{HashTypes: 0x01020304}, at(20, "04030201")},
		{"supported_tunnel_types", virtio.NetConfig{TunnelTypes: 0x100}, at(24, "00010000")},
		{
			"all",
			virtio.NetConfig{
				MAC: virtio.MAC{0x52, 0x54, 0, 0x12, 0x34, 0x56}, Status: virtio.StatusLinkUp | virtio.StatusAnnounce,
				QueuePairs: 4, MTU: 1500, Speed: 10000, Duplex: 1, RSSMaxKeySize: 40, RSSMaxTableLen: 128, HashTypes: 0x1ff, TunnelTypes: 0x100,
			},
			"525400123456" + "0300" + "0400" + "dc05" + "10270000" + "01" + "28" + "8000" + "ff010000" + "00010000",
		},
	} {
		b := tt.c.Encode()
		if got := hex.EncodeToString(b[:]); got != tt.want {
			t.Errorf("%s: Encode = %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestLimits(t *testing.T) {
	for name, v := range map[string][2]int{
		"largest max_virtqueue_pairs": {virtio.MaxQueuePairs, 0x8000},
		"smallest mtu":                {virtio.MinMTU, 68},
		"largest mtu":                 {virtio.MaxMTU, 65535},
		"rss_max_key_size":            {virtio.RSSKeySize, 40},
		"indirection table":           {virtio.RSSTableSize, 128},
		"size of the space":           {virtio.NetConfigSize, 28},
	} {
		if v[0] != v[1] {
			t.Errorf("%s = %d, want %d", name, v[0], v[1])
		}
	}
}

func TestMAC(t *testing.T) {
	for _, tt := range []struct {
		text  string
		mac   virtio.MAC
		group bool
	}{
		{"00:00:00:00:00:00", virtio.MAC{}, false},
		{"52:54:00:ab:cd:ef", virtio.MAC{0x52, 0x54, 0, 0xab, 0xcd, 0xef}, false},
		{"01:00:5e:00:00:fb", virtio.MAC{1, 0, 0x5e, 0, 0, 0xfb}, true},
		{"fe:ff:ff:ff:ff:ff", virtio.MAC{0xfe, 0xff, 0xff, 0xff, 0xff, 0xff}, false},
		{"ff:ff:ff:ff:ff:ff", virtio.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, true},
	} {
		if got := tt.mac.String(); got != tt.text {
			t.Errorf("String = %q, want %q", got, tt.text)
		}
		for _, text := range []string{tt.text, strings.ToUpper(tt.text), strings.ReplaceAll(tt.text, ":", "-")} {
			if got, err := virtio.ParseMAC(text); got != tt.mac || err != nil {
				t.Errorf("ParseMAC(%q) = %s, %v; want %s", text, got, err, tt.mac)
			}
		}
		if got := tt.mac.IsMulticast(); got != tt.group {
			t.Errorf("%s.IsMulticast() = %t, want %t", tt.text, got, tt.group)
		}
	}
	for _, text := range []string{"", "52:54:00:12:34", "52:54:00:12:34:56:78:9a", "52:54:00:12:34:5g", "nonsense"} {
		if got, err := virtio.ParseMAC(text); err == nil || !strings.Contains(err.Error(), "six hexadecimal pairs") {
			t.Errorf("ParseMAC(%q) = %s, %v; want an error", text, got, err)
		}
	}
}
