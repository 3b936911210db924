package packet_test

import (
	"testing"

	"vhost-user-nvgre/offload/packet"
)

// checkInvariants parses the first head bytes of b as a frame of frameLen
// bytes and checks what must hold of any result.
func checkInvariants(t *testing.T, b []byte, head, frameLen int) packet.Info {
	t.Helper()
	b = b[:head]
	p := parse(b, frameLen)
	fail := func(what string) {
		t.Helper()
		t.Fatalf("Parse of %d bytes of a frame of %d: %s\n%x\n%+v", head, frameLen, what, b, p)
	}
	var other packet.Info
	packet.ParseOther(&other, b, frameLen)
	if p != other { // parse has cleared what Typical reports
		fail("differs from the result without the short cut")
	}
	if int(p.FrameLen) != frameLen {
		fail("FrameLen")
	}
	n := min(len(b), frameLen)
	if int(p.HeaderLen) > n {
		fail("HeaderLen behind what is there")
	}
	for i, l := range []*packet.Level{&p.Outer, &p.Inner} {
		if l.Verdict == packet.Absent {
			if i == 0 || *l != (packet.Level{}) {
				fail("level absent")
			}
			continue
		}
		if int(l.End) > frameLen || int(l.L2) > n || int(l.L3) > n || int(l.L4) > n || int(l.Payload) > n {
			fail("offset behind what is there")
		}
		if l.Verdict == packet.MoreHead && n == frameLen {
			fail("wants more of a frame that is all there")
		}
		if l.Net == packet.NoNet {
			if l.L3 != 0 || l.L4 != 0 || l.Payload != 0 || l.Trans != packet.NoTransport || l.Verdict == packet.OK {
				fail("fields set without an IP header")
			}
			continue
		}
		if l.L3 < l.L2 || l.L4 < l.L3+20 || l.Payload != 0 && l.Payload < l.L4 || int(l.L4) > int(l.End) || int(l.Payload) > int(l.End) {
			fail("offsets not in order")
		}
		if l.HomeAddr != 0 && (l.HomeAddr < l.L3+44 || l.HomeAddr+16 > l.L4) || l.FinalDst != 0 && (l.FinalDst < l.L3+48 || l.FinalDst+16 > l.L4) {
			fail("address outside of the extension headers")
		}
		if l.Verdict == packet.OK && l.Payload == 0 && (l.Trans == packet.TCP || l.Trans == packet.UDP || l.Trans == packet.GRE) {
			fail("transport header good but not whole")
		}
		if i == 1 && (l.L2 < p.Outer.Payload || l.End > p.Outer.End) {
			fail("inner level outside of the tunnel")
		}
		// The views must exist.
		if l.Net == packet.IPv4 {
			_, _ = l.IPv4Header(b), l.IPv4Addrs(b)
		} else {
			_, _ = l.IPv6Header(b), l.IPv6Addrs(b)
			l.IPv6Home(b)
			l.IPv6Ex(b)
		}
		if l.HasPorts() {
			l.Ports(b)
			if l.Plain() && l.Net == packet.IPv4 {
				l.IPv4WithPorts(b)
			} else if l.Plain() {
				l.IPv6WithPorts(b)
			}
		}
	}
	if (p.Tunnel == packet.NoTunnel) == p.Tunnelled() {
		fail("Tunnel and Tunnelled disagree")
	}
	return p
}

// FuzzParse checks invariants on any frame and any part of it, and agreement
// with gopacket on what both decode.
func FuzzParse(f *testing.F) {
	for i, c := range frames([]byte("payload")) {
		if i%23 == 0 {
			b := c.Spec.Build().Bytes
			f.Add(b, uint16(len(b)), uint16(0))
			f.Add(b, uint16(len(b)/2), uint16(7))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, head, more uint16) {
		checkInvariants(t, b, min(int(head), len(b)), len(b)+int(more))
		p := checkInvariants(t, b, len(b), len(b))
		compareGopacket(t, b, &p)
	})
}
