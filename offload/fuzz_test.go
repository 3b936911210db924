package offload_test

import (
	"bytes"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"vhost-user-nvgre/offload"
	"vhost-user-nvgre/offload/internal/frametest"
	"vhost-user-nvgre/offload/packet"
	"vhost-user-nvgre/virtio"
)

// guestMemory returns memory that a goroutine may write while others read it,
// as guests do, and frees it when the test ends.
func guestMemory(t testing.TB, n int) []byte {
	t.Helper()
	b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_SHARED)
	if err != nil {
		t.Fatalf("mmap: %v", err)
	}
	t.Cleanup(func() { unix.Munmap(b) })
	return b
}

// disturb writes to memory until the function that it returns is called, which
// may be more than once.
func disturb(b []byte, r *rand.Rand) (end func()) {
	var quit atomic.Bool
	done := make(chan struct{})
	seed := r.Uint64()
	go func() {
		defer close(done)
		r := rand.New(rand.NewPCG(seed, 0))
		for !quit.Load() && len(b) > 0 {
			for range 64 {
				b[r.IntN(len(b))] ^= byte(r.Uint32())
			}
		}
	}()
	return func() {
		quit.Store(true)
		<-done
	}
}

// FuzzFrame takes any bytes in any pieces from a sender with any features to a
// receiver with any. Nothing panics. What arrives is
// the frame as it was, or has the checksums that were promised, and the whole
// payload. With a sender that writes meanwhile, it has checksums of what
// arrived.
//
// Hostile: 285e6b8b18, 7023f3e532, CVE-2022-2132, CVE-2024-11614, CVE-2026-100236
func FuzzFrame(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 2))
	for i, c := range frames() {
		if i%37 != 0 {
			continue
		}
		s := withPayload(c.Spec, randomBytes(r, 300))
		b, h := super(r, &s, 100)
		f.Add(image(h, b), uint64(txAll|rxAll), uint64(i))
		b, h = partial(&s)
		f.Add(image(h, b), uint64(txAll|1<<1), uint64(i))
		f.Add(image(virtio.NetHdr{}, s.Build().Bytes), uint64(rxAll), uint64(i))
	}
	f.Add([]byte{}, uint64(0), uint64(0))
	guest, err := unix.Mmap(-1, 0, 1<<17, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_SHARED)
	if err != nil {
		f.Fatalf("mmap: %v", err)
	}
	f.Fuzz(func(t *testing.T, chain []byte, features, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 1))
		st := stateWith(seed&1 != 0)
		if seed&2 != 0 {
			st.Receive = every
		}
		negotiated := virtio.Features(features) & (txAll | rxAll)
		tx, rx := offload.SenderOf(negotiated, st), offload.ReceiverOf(negotiated, st)
		mem := guest[:copy(guest, chain)]
		moving := seed&4 != 0
		end := func() {}
		if moving {
			end = disturb(mem, r)
		}
		defer end()
		var (
			w   offload.Worker
			f   offload.Frame
			got = sink{t: t, r: r, layout: int(seed>>3) % 3, limit: -1}
		)
		if f.Load(cut(r, mem, int(seed>>5)%3), virtio.NetHdrSize) != offload.OK {
			return
		}
		asked := f.Hdr
		if w.Admit(&f, &tx) != offload.OK {
			return
		}
		hasher := offload.Hasher{Key: testKey, Types: offload.HashTypes(r.Uint32()) & everyType, NVGRE: st.NVGRE}
		if _, report := hasher.Hash(&f); report > 9 {
			t.Fatalf("hash report %d", report)
		}
		if f.Hdr.Flags != 0 && !negotiated.Has(virtio.FeatureCSUM) {
			t.Fatalf("%+v was admitted of a sender with %s", asked, negotiated)
		}
		verdict := deliver(&w, &f, &rx, &got)
		end()
		if verdict != offload.OK {
			t.Fatalf("%+v was admitted, then %v", asked, verdict)
		}
		checkDelivery(t, &f, &rx, got.frames, chain, moving)
	})
}

// checkDelivery checks what must hold of the frames that a receiver got of f.
func checkDelivery(t *testing.T, f *offload.Frame, rx *offload.Receiver, frames []delivered, chain []byte, moving bool) {
	t.Helper()
	sent := chain[virtio.NetHdrSize:]
	var payload []byte
	for i, d := range frames {
		if !rx.Checksum && d.hdr != (virtio.NetHdr{}) {
			t.Fatalf("frame %d: header %+v for a receiver without GUEST_CSUM", i, d.hdr)
		}
		if d.hdr.Flags&^(virtio.HdrNeedsCsum|virtio.HdrDataValid) != 0 || d.hdr.GSOType != 0 && d.hdr.Flags != virtio.HdrNeedsCsum {
			t.Fatalf("frame %d: header %+v", i, d.hdr)
		}
		if d.hdr.Flags == virtio.HdrNeedsCsum && int(d.hdr.CsumStart)+int(d.hdr.CsumOffset)+2 > len(d.b) {
			t.Fatalf("frame %d of %d bytes: header %+v", i, len(d.b), d.hdr)
		}
		if f.IsSuper() && !f.Whole(rx) {
			var p packet.Info
			packet.Parse(&p, d.b, len(d.b))
			l := &p.Outer
			if p.Tunnelled() && int(f.Hdr.CsumStart) == int(p.Inner.L4) {
				l = &p.Inner
			}
			if int(l.L4) != int(f.Hdr.CsumStart) || !transportGood(d.b, l) {
				t.Fatalf("segment %d of %d: checksum or headers wrong: %+v\n%x", i, len(frames), *l, d.b)
			}
			if n := len(d.b) - int(f.Hdr.HdrLen); n > int(f.Hdr.GSOSize) || n < int(f.Hdr.GSOSize) && i < len(frames)-1 {
				t.Fatalf("segment %d of %d has %d bytes, gso_size %d", i, len(frames), n, f.Hdr.GSOSize)
			}
			payload = append(payload, d.b[f.Hdr.HdrLen:]...)
		}
	}
	switch {
	case moving:
	case payload != nil:
		if !bytes.Equal(payload, sent[f.Hdr.HdrLen:]) {
			t.Fatalf("the payload changed: %x, want %x", payload, sent[f.Hdr.HdrLen:])
		}
	case f.Hdr.Flags == 0 || f.Whole(rx):
		if len(frames) != 1 || !bytes.Equal(frames[0].b, sent) {
			t.Fatalf("the frame changed: %x, want %x", frames[0].b, sent)
		}
	case len(frames) != 1 || len(frames[0].b) != len(sent):
		t.Fatalf("%d frames, the first of %d bytes, want one of %d", len(frames), len(frames[0].b), len(sent))
	}
}

// transportGood sums the pseudo-header of RFC 793 or RFC 8200 and the packet. A
// UDP checksum of zero is none.
func transportGood(b []byte, l *packet.Level) bool {
	if !l.HasPorts() {
		return false
	}
	if l.Trans == packet.UDP && b[l.L4+6]|b[l.L4+7] == 0 {
		return true
	}
	body := b[l.L4:l.End]
	n := len(body)
	tail := []byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n), 0, 0, 0, l.Protocol}
	if l.Net == packet.IPv4 {
		return frametest.Sum(b[l.L3+12:l.L3+20], tail, body) == 0xffff
	}
	src, dst := b[l.L3+8:l.L3+24], b[l.L3+24:l.L3+40]
	if l.HomeAddr != 0 {
		src = b[l.HomeAddr : l.HomeAddr+16]
	}
	if l.FinalDst != 0 {
		dst = b[l.FinalDst : l.FinalDst+16]
	}
	return frametest.Sum(src, dst, tail, body) == 0xffff
}

// The sender's memory changes while its frames are delivered, to receivers of
// every kind: what arrives is right in itself.
//
// Hostile: 285e6b8b18, 93ed2f49de
func TestMemoryChanges(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	guest := guestMemory(t, 1<<16)
	st := stateWith(true)
	st.Receive = every
	tx := offload.SenderOf(txAll, st)
	var (
		w offload.Worker
		f offload.Frame
	)
	for i, c := range frames() {
		if i%11 != 0 {
			continue
		}
		s := withPayload(c.Spec, randomBytes(r, 4000))
		b, h := super(r, &s, 700)
		if i%2 != 0 {
			b, h = partial(&s)
		}
		mem := guest[:copy(guest, image(h, b))]
		end := disturb(mem[virtio.NetHdrSize:], r)
		for k := range 40 {
			copy(mem, image(h, b))
			rx := offload.ReceiverOf(receivers[k%len(receivers)], st)
			got := sink{t: t, r: r, layout: k % 3, limit: -1}
			if f.Load(cut(r, mem, k%3), virtio.NetHdrSize) != offload.OK || w.Admit(&f, &tx) != offload.OK {
				continue // the headers were hit
			}
			if v := deliver(&w, &f, &rx, &got); v != offload.OK {
				t.Fatalf("%s: admitted, then %v", c.Name, v)
			}
			checkDelivery(t, &f, &rx, got.frames, mem, true)
		}
		end()
	}
}
