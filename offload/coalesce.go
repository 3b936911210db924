package offload

import (
	"vhost-user-nvgre/offload/gro"
	"vhost-user-nvgre/offload/verify"
	"vhost-user-nvgre/virtio"
)

// coalescing returns what is to be coalesced for a receiver: what is
// operational, if its driver takes super-frames of that kind. It does not
// depend on validation being operational, for which frames are reported to the
// driver: what goes into a unit is always verified.
func (rx *Receiver) coalescing(f virtio.Features, st *State) gro.Config {
	if !rx.Checksum {
		return gro.Config{} // the checksum of a unit is partial
	}
	return gro.Config{
		RSC4:    st.RSCv4 && rx.TSO4,
		RSC6:    st.RSCv6 && rx.TSO6,
		URO4:    st.URO && rx.USO4,
		URO6:    st.URO && rx.USO6,
		RSCInfo: f.Has(virtio.FeatureRSCExt),
	}
}

// Coalesces reports whether anything is coalesced for the receiver, and
// whatever goes to it is to pass a gro.Coalescer before Whole and Deliver.
func (rx *Receiver) Coalesces() bool { return rx.coalesces }

// Coalescable returns the frame as a gro.Coalescer takes it. It refers to f,
// which must not be changed before the coalescer is done with it.
func (f *Frame) Coalescable() gro.Frame {
	info := f.Info() // before Head and Tail are used: it may move bytes between them
	return gro.Frame{Head: f.Head, Tail: f.Tail, Info: info, Hdr: &f.Hdr}
}

// Verified returns what is known of the checksums of each frame of a unit that
// was verified, as Sink.Validated would have been told of it alone. It is
// false if such frames are not validated for the receiver.
func (rx *Receiver) Verified(k gro.Kind) (verify.Result, bool) {
	v := &rx.Validate
	switch k {
	case gro.TCPv4:
		return verify.Result{OuterIP: verify.Good, Transport: verify.Good}, v.TCPv4
	case gro.UDPv4:
		return verify.Result{OuterIP: verify.Good, Transport: verify.Good}, v.UDPv4
	case gro.TCPv6:
		return verify.Result{Transport: verify.Good}, v.TCPv6
	case gro.UDPv6:
		return verify.Result{Transport: verify.Good}, v.UDPv6
	}
	return verify.Result{}, false
}
