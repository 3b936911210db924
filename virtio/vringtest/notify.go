package vringtest

import "vhost-user-nvgre/virtio"

// NeedKick reports whether the device wants to be kicked for what was
// published since the last call.
func (d *Driver) NeedKick() bool {
	old := d.kicked
	d.kicked = d.avail
	if old == d.avail {
		return false
	}
	if !d.features.Has(virtio.FeatureEventIdx) {
		return load16(d.Mem.At(d.Used, 2))&1 == 0
	}
	event := load16(d.Mem.At(d.Used+4+8*uint64(d.size), 2))
	return d.avail-event-1 < d.avail-old
}

// SetInterrupts asks the device to notify, or not to, for further used
// buffers. After asking for it, look whether there are some already.
func (d *Driver) SetInterrupts(on bool) {
	if d.features.Has(virtio.FeatureEventIdx) {
		event := d.used
		if !on {
			event-- // lies behind
		}
		d.SetUsedEvent(event)
		return
	}
	var flags uint16
	if !on {
		flags = 1
	}
	d.SetAvailFlags(flags)
}

// SetUsedEvent stores the used index after which to notify, as it is.
func (d *Driver) SetUsedEvent(idx uint16) { store16(d.Mem.At(d.Avail+4+2*uint64(d.size), 2), idx) }

// SetAvailFlags stores the flags of the available ring as they are.
func (d *Driver) SetAvailFlags(flags uint16) { store16(d.Mem.At(d.Avail, 2), flags) }

// UsedFlags returns the flags of the used ring.
func (d *Driver) UsedFlags() uint16 { return load16(d.Mem.At(d.Used, 2)) }

// AvailEvent returns the available index after which the device wants a kick.
func (d *Driver) AvailEvent() uint16 { return load16(d.Mem.At(d.Used+4+8*uint64(d.size), 2)) }
