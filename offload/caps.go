package offload

import (
	"vhost-user-nvgre/offload/gro"
	"vhost-user-nvgre/offload/packet"
	"vhost-user-nvgre/virtio"
)

// Sender is what a sending port may hand over unfinished: what its driver
// negotiated and what is operational of the adapter.
type Sender struct {
	Checksum   bool
	TSO4, TSO6 bool
	ECN        bool
	USO4, USO6 bool
	NVGRE      Tunnel
	Limits     Limits
}

// SenderOf returns what features and state mean for sending.
func SenderOf(f virtio.Features, st *State) Sender {
	uso := f.Has(virtio.FeatureHostUSO)
	return Sender{
		Checksum: f.Has(virtio.FeatureCSUM),
		TSO4:     f.Has(virtio.FeatureHostTSO4) && st.LSOv4,
		TSO6:     f.Has(virtio.FeatureHostTSO6) && st.LSOv6,
		ECN:      f.Has(virtio.FeatureHostECN),
		USO4:     uso && st.USOv4,
		USO6:     uso && st.USOv6,
		NVGRE:    st.NVGRE,
		Limits:   st.Limits,
	}
}

// Receiver is what a receiving port takes unfinished, and what is to be found
// out for it.
type Receiver struct {
	Checksum        bool
	TSO4, TSO6, ECN bool
	USO4, USO6      bool
	// Validate and NVGRE say which frames' checksums are validated; none
	// unless the driver can be told.
	Validate Validation
	NVGRE    Tunnel
	validate bool // any of them
	// Coalesce says what received segments are made of that go to the port in
	// one batch.
	Coalesce  gro.Config
	coalesces bool // anything
	// Hash computes the hash that packet headers report. Nil: none.
	Hash *Hasher
}

// ReceiverOf returns what features and state mean for receiving.
func ReceiverOf(f virtio.Features, st *State) Receiver {
	rx := Receiver{
		Checksum: f.Has(virtio.FeatureGuestCSUM),
		TSO4:     f.Has(virtio.FeatureGuestTSO4),
		TSO6:     f.Has(virtio.FeatureGuestTSO6),
		ECN:      f.Has(virtio.FeatureGuestECN),
		USO4:     f.Has(virtio.FeatureGuestUSO4),
		USO6:     f.Has(virtio.FeatureGuestUSO6),
	}
	if rx.Checksum {
		rx.Validate, rx.NVGRE = st.Receive, st.NVGRE
		rx.validate = rx.Validate != Validation{} || rx.NVGRE.RxChecksum != 0
	}
	rx.Coalesce = rx.coalescing(f, st)
	rx.coalesces = rx.Coalesce.Any()
	return rx
}

// covers reports whether the checksums of a packet are to be validated, and
// whether those in its tunnel are.
func (rx *Receiver) covers(p *packet.Info) (validate, tunnel bool) {
	if rx.NVGRE.covers(rx.NVGRE.RxChecksum, p) {
		return true, true
	}
	v := &rx.Validate
	switch l := &p.Outer; {
	case l.Net == packet.IPv4 && l.Trans == packet.TCP:
		return v.TCPv4, false
	case l.Net == packet.IPv4 && l.Trans == packet.UDP:
		return v.UDPv4, false
	case l.Net == packet.IPv4:
		return v.IPv4, false
	case l.Net == packet.IPv6 && l.Trans == packet.TCP:
		return v.TCPv6, false
	case l.Net == packet.IPv6 && l.Trans == packet.UDP:
		return v.UDPv6, false
	}
	return false, false
}

// Without returns what is left of st for a driver that lacks the offloads that
// some of virtio's feature bits stand for.
func (st State) Without(lacking virtio.Features) State {
	lacks := func(f virtio.Features) bool { return lacking&f != 0 }
	st.LSOv4 = st.LSOv4 && !lacks(virtio.FeatureHostTSO4)
	st.LSOv6 = st.LSOv6 && !lacks(virtio.FeatureHostTSO6)
	if lacks(virtio.FeatureHostUSO) {
		st.USOv4, st.USOv6 = false, false
	}
	if lacks(virtio.FeatureGuestCSUM) {
		st.Receive = Validation{}
	}
	// Coalescing stands on checksums.
	lacking4, lacking6 := virtio.FeatureGuestTSO4|virtio.FeatureGuestCSUM, virtio.FeatureGuestTSO6|virtio.FeatureGuestCSUM
	st.RSCv4, st.RSCv6 = st.RSCv4 && !lacks(lacking4), st.RSCv6 && !lacks(lacking6)
	st.URO = st.URO && !lacks(virtio.FeatureGuestCSUM) && !(lacks(virtio.FeatureGuestUSO4) && lacks(virtio.FeatureGuestUSO6))
	st.NVGRE = st.NVGRE.without(lacks)
	return st
}

func (t Tunnel) without(lacks func(virtio.Features) bool) Tunnel {
	if lacks(virtio.FeatureCSUM) {
		t.TxChecksum = 0
	}
	if lacks(virtio.FeatureGuestCSUM) {
		t.RxChecksum = 0
	}
	if lacks(virtio.FeatureHostUSO) {
		t.USO = 0
	}
	if lacks(virtio.FeatureHostTSO4) {
		t.LSO &^= InnerIPv4
	}
	if lacks(virtio.FeatureHostTSO6) {
		t.LSO &^= InnerIPv6
	}
	if t.LSO&(InnerIPv4|InnerIPv6) == 0 {
		t.LSO = 0
	}
	return t
}
