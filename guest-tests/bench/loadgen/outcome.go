package loadgen

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"vhost-user-nvgre/virtio"
)

// Outcome is what the receiver gets.
type Outcome string

// Outcomes.
const (
	Whole    Outcome = "whole"    // frames as they were sent
	Finished Outcome = "finished" // frames with their checksums filled in
	Segments Outcome = "segments" // segments with their checksums filled in
)

// outcome returns what a receiver with the given features is to get.
func (k kindSpec) outcome(f virtio.Features) Outcome {
	switch {
	case k.super && !f.Has(virtio.FeatureGuestTSO4):
		return Segments
	case k.partial && !f.Has(virtio.FeatureGuestCSUM):
		return Finished
	}
	return Whole
}

// delivery is a frame as the receiver got it.
type delivery struct {
	hdr   virtio.NetHdr
	bytes []byte
}

// checker compares what came with what had to.
type checker struct {
	outcome Outcome
	lax     bool
	mss     int
}

// frames returns how many deliveries come of f.
func (c *checker) frames(f *frame) int {
	if c.outcome != Segments {
		return 1
	}
	return (len(f.payload()) + c.mss - 1) / c.mss
}

// check compares all that came of f.
func (c *checker) check(f *frame, got []delivery) error {
	switch c.outcome {
	case Whole:
		return c.checkWhole(f, got[0])
	case Finished:
		return c.checkFinished(f, got[0])
	}
	rest := f.payload()
	for i, d := range got {
		want := rest[:min(c.mss, len(rest))]
		if err := c.checkSegment(f, d, want, len(f.payload())-len(rest)); err != nil {
			return fmt.Errorf("segment %d of %d: %w", i, len(got), err)
		}
		rest = rest[len(want):]
	}
	return nil
}

func (c *checker) checkWhole(f *frame, d delivery) error {
	got, want := d.bytes, f.bytes
	if sum := f.spec.headers - 4; c.lax && len(got) > sum+2 {
		got, want = slices.Clone(got), slices.Clone(want)
		clear(got[sum : sum+2])
		clear(want[sum : sum+2])
	}
	if err := differ("frame", got, want); err != nil {
		return err
	}
	h := d.hdr
	h.NumBuffers, h.HdrLen = 0, f.hdr.HdrLen // a hint
	if h.Flags &= virtio.HdrNeedsCsum; h != f.hdr && !c.lax {
		return fmt.Errorf("packet header %+v, want %+v", h, f.hdr)
	}
	return nil
}

func (c *checker) checkFinished(f *frame, d delivery) error {
	if err := differ("frame", d.bytes, f.final); err != nil {
		return err
	}
	if d.hdr.Flags&virtio.HdrNeedsCsum != 0 && !c.lax {
		return fmt.Errorf("packet header %+v asks for a checksum", d.hdr)
	}
	return nil
}

func (c *checker) checkSegment(f *frame, d delivery, want []byte, offset int) error {
	head := f.spec.headers
	if len(d.bytes) < head {
		return fmt.Errorf("%d bytes, want %d", len(d.bytes), head+len(want))
	}
	seq := binary.BigEndian.Uint32(f.bytes[head-16:]) + uint32(offset)
	if got := binary.BigEndian.Uint32(d.bytes[head-16:]); got != seq {
		return fmt.Errorf("sequence number %d, want %d", got, seq)
	}
	if err := differ("payload", d.bytes[head:], want); err != nil || c.lax {
		return err
	}
	if d.hdr.Flags&virtio.HdrNeedsCsum != 0 || d.hdr.GSOType != virtio.GSONone {
		return fmt.Errorf("packet header %+v asks for work", d.hdr)
	}
	p := gopacket.NewPacket(d.bytes, layers.LayerTypeEthernet, gopacket.Default)
	if e := p.ErrorLayer(); e != nil {
		return e.Error()
	}
	var ip gopacket.NetworkLayer
	for _, l := range p.Layers() {
		switch l := l.(type) {
		case *layers.IPv4:
			ip = l
		case *layers.TCP:
			if err := l.SetNetworkLayerForChecksum(ip); err != nil {
				return err
			}
		}
	}
	err, wrong := p.VerifyChecksums()
	if err != nil {
		return err
	}
	for _, w := range wrong {
		return fmt.Errorf("checksum of %s is 0x%x, want 0x%x", w.Layer.LayerType(), w.Actual, w.Correct)
	}
	return nil
}

// differ compares bytes.
func differ(what string, got, want []byte) error {
	if bytes.Equal(got, want) {
		return nil
	}
	if len(got) != len(want) {
		return fmt.Errorf("%s of %d bytes, want %d", what, len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			return fmt.Errorf("%s differs from byte %d: 0x%02x, want 0x%02x", what, i, got[i], want[i])
		}
	}
	return nil
}
