package virtio_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"vhost-user-nvgre/virtio"
)

// specified is the specification's list of feature bits: number, name and
// requirements, "a b" for all of them and "a|b" for one of them.
var specified = []struct {
	bit      uint
	name     string
	requires string
}{
	{0, "csum", ""},
	{1, "guest_csum", ""},
	{2, "ctrl_guest_offloads", "ctrl_vq"},
	{3, "mtu", ""},
	{5, "mac", ""},
	{7, "guest_tso4", "guest_csum"},
	{8, "guest_tso6", "guest_csum"},
	{9, "guest_ecn", "guest_tso4|guest_tso6"},
	{10, "guest_ufo", "guest_csum"},
	{11, "host_tso4", "csum"},
	{12, "host_tso6", "csum"},
	{13, "host_ecn", "host_tso4|host_tso6"},
	{14, "host_ufo", "csum"},
	{15, "mrg_rxbuf", ""},
	{16, "status", ""},
	{17, "ctrl_vq", ""},
	{18, "ctrl_rx", "ctrl_vq"},
	{19, "ctrl_vlan", "ctrl_vq"},
	{20, "ctrl_rx_extra", "ctrl_vq"},
	{21, "guest_announce", "ctrl_vq"},
	{22, "mq", "ctrl_vq"},
	{23, "ctrl_mac_addr", "ctrl_vq"},
	{27, "any_layout", ""},
	{28, "indirect_desc", ""},
	{29, "event_idx", ""},
	{32, "version_1", ""},
	{33, "access_platform", ""},
	{34, "ring_packed", ""},
	{35, "in_order", ""},
	{40, "ring_reset", ""},
	{50, "device_stats", "ctrl_vq"},
	{51, "hash_tunnel", "ctrl_vq rss|hash_report"},
	{52, "vq_notf_coal", "ctrl_vq"},
	{53, "notf_coal", "ctrl_vq"},
	{54, "guest_uso4", "guest_csum"},
	{55, "guest_uso6", "guest_csum"},
	{56, "host_uso", "csum"},
	{57, "hash_report", "ctrl_vq"},
	{59, "guest_hdrlen", ""},
	{60, "rss", "ctrl_vq"},
	{61, "rsc_ext", "host_tso4|host_tso6"},
	{62, "standby", ""},
	{63, "speed_duplex", ""},
}

// numbered are the exported constants by the number they must have.
var numbered = map[uint]virtio.Features{
	0: virtio.FeatureCSUM, 1: virtio.FeatureGuestCSUM, 2: virtio.FeatureCtrlGuestOffload, 3: virtio.FeatureMTU,
	5: virtio.FeatureMAC, 7: virtio.FeatureGuestTSO4, 8: virtio.FeatureGuestTSO6, 9: virtio.FeatureGuestECN,
	10: virtio.FeatureGuestUFO, 11: virtio.FeatureHostTSO4, 12: virtio.FeatureHostTSO6, 13: virtio.FeatureHostECN,
	14: virtio.FeatureHostUFO, 15: virtio.FeatureMrgRxbuf, 16: virtio.FeatureStatus, 17: virtio.FeatureCtrlVQ,
	18: virtio.FeatureCtrlRX, 19: virtio.FeatureCtrlVLAN, 20: virtio.FeatureCtrlRXExtra, 21: virtio.FeatureGuestAnnounce,
	22: virtio.FeatureMQ, 23: virtio.FeatureCtrlMACAddr, 27: virtio.FeatureAnyLayout, 28: virtio.FeatureIndirectDesc,
	29: virtio.FeatureEventIdx, 32: virtio.FeatureVersion1, 33: virtio.FeatureAccessPlatform, 34: virtio.FeatureRingPacked,
	35: virtio.FeatureInOrder, 40: virtio.FeatureRingReset, 50: virtio.FeatureDeviceStats, 51: virtio.FeatureHashTunnel,
	52: virtio.FeatureVQNotfCoal, 53: virtio.FeatureNotfCoal, 54: virtio.FeatureGuestUSO4, 55: virtio.FeatureGuestUSO6,
	56: virtio.FeatureHostUSO, 57: virtio.FeatureHashReport, 59: virtio.FeatureGuestHdrLen, 60: virtio.FeatureRSS,
	61: virtio.FeatureRSCExt, 62: virtio.FeatureStandby, 63: virtio.FeatureSpeedDuplex,
}

func bitOf(t testing.TB, name string) virtio.Features {
	for _, s := range specified {
		if s.name == name {
			return 1 << s.bit
		}
	}
	t.Fatalf("the test's list lacks %q", name)
	return 0
}

// unmet returns the names of the set bits whose requirements are not.
func unmet(t testing.TB, f virtio.Features) (names []string) {
	for _, s := range specified {
		if f&(1<<s.bit) == 0 {
			continue
		}
		for _, need := range strings.Fields(s.requires) {
			met := false
			for _, one := range strings.Split(need, "|") {
				met = met || f&bitOf(t, one) != 0
			}
			if !met && !slices.Contains(names, s.name) {
				names = append(names, s.name)
			}
		}
	}
	return names
}

func TestFeatureNumbersAndNames(t *testing.T) {
	if len(specified) != len(numbered) {
		t.Errorf("%d names, %d constants", len(specified), len(numbered))
	}
	for _, s := range specified {
		bit := virtio.Features(1) << s.bit
		if numbered[s.bit] != bit {
			t.Errorf("the constant of %s is 0x%x, want bit %d", s.name, uint64(numbered[s.bit]), s.bit)
		}
		if got := bit.String(); got != s.name {
			t.Errorf("bit %d is called %q, want %q", s.bit, got, s.name)
		}
		if got, err := virtio.ParseFeature(s.name); got != bit || err != nil {
			t.Errorf("ParseFeature(%q) = 0x%x, %v; want bit %d", s.name, uint64(got), err, s.bit)
		}
	}
	for _, name := range []string{"", "CSUM", "csum ", "bit4", "VIRTIO_NET_F_CSUM"} {
		if got, err := virtio.ParseFeature(name); err == nil || !strings.Contains(err.Error(), "mrg_rxbuf") {
			t.Errorf("ParseFeature(%q) = %s, %v; want an error with an example", name, got, err)
		}
	}
}

func TestFeatureStrings(t *testing.T) {
	for _, tt := range []struct {
		f    virtio.Features
		want string
	}{
		{0, ""},
		{1 << 4, "bit4"},
		{1<<63 | 1<<30 | 1<<15 | 1, "csum,mrg_rxbuf,bit30,speed_duplex"},
		{1<<57 | 1<<51, "hash_tunnel,hash_report"},
	} {
		if got := tt.f.String(); got != tt.want {
			t.Errorf("0x%x.String() = %q, want %q", uint64(tt.f), got, tt.want)
		}
	}
	if got := len((^virtio.Features(0)).Names()); got != 64 {
		t.Errorf("all bits have %d names", got)
	}
}

func TestHas(t *testing.T) {
	const f = virtio.FeatureCSUM | virtio.FeatureMAC
	for want, has := range map[virtio.Features]bool{
		0: true, virtio.FeatureCSUM: true, f: true, virtio.FeatureMTU: false, f | virtio.FeatureMTU: false,
	} {
		if got := f.Has(want); got != has {
			t.Errorf("(%s).Has(%s) = %t, want %t", f, want, got, has)
		}
	}
}

// sets yields sets that matter for requirements: every base alone, everything
// but one or two bits, and random ones.
func sets(yield func(virtio.Features) bool) {
	all := ^virtio.Features(0)
	list := []virtio.Features{0, all}
	for i := range 64 {
		list = append(list, 1<<i, all&^(1<<i))
		for j := range i {
			list = append(list, all&^(1<<i|1<<j), 1<<i|1<<j)
		}
	}
	r := rand.New(rand.NewPCG(1, 1))
	for range 2000 {
		list = append(list, virtio.Features(r.Uint64()), virtio.Features(r.Uint64()|r.Uint64()), virtio.Features(r.Uint64()&r.Uint64()))
	}
	for _, f := range list {
		if !yield(f) {
			return
		}
	}
}

// Strip takes away what lacks its requirements until nothing does, and no more.
//
// Shows: VNET-001, VNET-036
func TestStrip(t *testing.T) {
	for f := range sets {
		want := f
		for names := unmet(t, want); len(names) > 0; names = unmet(t, want) {
			for _, name := range names {
				want &^= bitOf(t, name)
			}
		}
		if got := f.Strip(); got != want {
			t.Fatalf("Strip of %s = %s, want %s", f, got, want)
		}
	}
}

// Every consistent subset of the offer is accepted, any other is refused with
// the fault named. CTRL_VQ counts as acknowledged, for front ends that serve
// the control queue themselves do not pass it on.
//
// Shows: VNET-002
func TestCheckAck(t *testing.T) {
	for acked := range sets {
		for _, offered := range []virtio.Features{acked, acked | 0xff, ^virtio.Features(0), acked &^ (1<<20 - 1)} {
			err := offered.CheckAck(acked)
			faulty := unmet(t, acked|virtio.FeatureCtrlVQ)
			switch extra := acked &^ offered; {
			case extra != 0:
				if err == nil || err.Error() != "features "+extra.String()+" acknowledged but not offered" {
					t.Fatalf("(%s).CheckAck(%s) = %v, want an error that names %s", offered, acked, err, extra)
				}
			case len(faulty) > 0:
				if err == nil || !strings.HasPrefix(err.Error(), "feature ") || !slices.Contains(faulty, strings.Fields(err.Error())[1]) {
					t.Fatalf("(%s).CheckAck(%s) = %v, want an error that names one of %v", offered, acked, err, faulty)
				}
			case err != nil:
				t.Fatalf("(%s).CheckAck(%s) = %v, want none", offered, acked, err)
			}
		}
	}
}

func TestCheckAckText(t *testing.T) {
	all := ^virtio.Features(0)
	for _, tt := range []struct {
		acked virtio.Features
		want  string
	}{
		{virtio.FeatureHostTSO4, "feature host_tso4 acknowledged without csum"},
		{virtio.FeatureGuestCSUM | virtio.FeatureGuestECN, "feature guest_ecn acknowledged without one of guest_tso4,guest_tso6"},
		{virtio.FeatureHashTunnel, "feature hash_tunnel acknowledged without one of hash_report,rss"},
	} {
		if err := all.CheckAck(tt.acked); err == nil || err.Error() != tt.want {
			t.Errorf("CheckAck(%s) = %v, want %q", tt.acked, err, tt.want)
		}
	}
	if err := all.CheckAck(virtio.FeatureCtrlRX | virtio.FeatureMQ); err != nil {
		t.Errorf("CheckAck without ctrl_vq = %v, want none", err)
	}
}
