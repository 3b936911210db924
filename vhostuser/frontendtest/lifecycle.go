package frontendtest

import (
	"vhost-user-nvgre/vhostuser/wire"
	"vhost-user-nvgre/virtio"
)

// Device status bits that QEMU passes on.
const (
	statusFeaturesOK = 8
	statusDriverOK   = 0xf // with everything before it
)

// Start is what QEMU does when the guest's driver says DRIVER_OK, and when the
// virtual machine goes on after Stop.
func (f *Frontend) Start() error {
	c := f.Conn
	f.Features = f.offeredToDriver() & f.o.Features
	f.Features = f.Features.Strip()
	if f.fresh {
		f.layOut()
	}
	if f.o.MTU != 0 && f.Protocol.Has(wire.ProtocolMTU) {
		if err := c.Do(wire.NetSetMTU, wire.AppendU64(nil, f.o.MTU)); err != nil {
			return err
		}
	}
	devices := 1
	if f.o.Style == Netdev {
		devices = f.o.QueuePairs
	}
	for d := range devices {
		if err := f.startDevice(d); err != nil {
			return err
		}
	}
	if f.o.Style == Generic {
		for i := range f.rings {
			if err := f.Enable(i, true); err != nil {
				return err
			}
		}
	} else if err := f.setStatus(statusDriverOK); err != nil {
		return err
	}
	for _, q := range f.RX {
		if err := q.Fill(); err != nil {
			return err
		}
	}
	return c.Sync()
}

// offeredToDriver returns what the guest sees of the back end's offer.
func (f *Frontend) offeredToDriver() virtio.Features {
	if f.o.Style == Generic {
		return f.Offered
	}
	// QEMU serves these itself, whatever the back end says.
	offered := f.Offered&^hiddenByQEMU | keptByQEMU&^virtio.FeatureStandby
	if f.o.QueuePairs == 1 {
		offered &^= virtio.FeatureMQ
	}
	return offered
}

// acked returns what SET_FEATURES carries of the driver's acknowledgement.
func (f *Frontend) acked() uint64 {
	acked := f.Features
	if f.o.Style == Netdev {
		acked &= f.Offered &^ keptByQEMU
	}
	return uint64(acked) | wire.FeatureProtocol
}

// ctrlIndex is where the driver expects the control queue.
func (f *Frontend) ctrlIndex() int {
	if f.Features&(virtio.FeatureMQ|virtio.FeatureRSS) != 0 {
		return 2 * f.o.QueuePairs
	}
	return 2
}

// layOut makes all rings anew and empty, as a driver does after a reset.
func (f *Frontend) layOut() {
	f.fresh = false
	size := f.o.RingSize
	n := int(size)
	for _, q := range f.RX {
		if q.layout == nil {
			q.layout = []int{2048}
			if !f.Features.Has(virtio.FeatureMrgRxbuf) {
				q.layout = []int{f.o.MaxFrame + virtio.NetHdrMaxSize}
			}
		}
		if q.slots == nil {
			bytes := 0
			for _, l := range q.layout {
				bytes += l
			}
			q.makeSlots(max(1, n/len(q.layout)), bytes, false)
		}
		q.layOut(size, f.Features)
	}
	for _, q := range f.TX {
		q.indirect = f.o.Indirect && f.Features.Has(virtio.FeatureIndirectDesc)
		if q.slots == nil {
			q.makeSlots(n, q.size, true)
		}
		q.layOut(size, f.Features)
	}
	if q := f.Ctrl; q != nil {
		if q.slots == nil {
			q.makeSlots(1, ctrlData+3, false)
		}
		q.layOut(size, f.Features)
	}
}

func (f *Frontend) startDevice(d int) error {
	if f.o.Style == Netdev && d < f.active {
		for i := 2 * d; i < 2*d+2; i++ {
			if err := f.Enable(i, true); err != nil {
				return err
			}
		}
	}
	if err := f.Conn.Send(wire.SetFeatures, 0, wire.AppendU64(nil, f.acked())); err != nil {
		return err
	}
	if err := f.setStatus(statusFeaturesOK); err != nil {
		return err
	}
	// QEMU 7.2 repeats this for every device on the connection when it adds
	// regions one by one.
	if d == 0 || f.o.Old && f.slots() {
		if err := f.ShareMemory(); err != nil {
			return err
		}
	}
	for _, q := range f.device(d) {
		if err := f.startRing(q); err != nil {
			return err
		}
	}
	return nil
}

func (f *Frontend) slots() bool { return f.Protocol.Has(wire.ProtocolConfigureMemSlots) }

// ShareMemory tells the back end about the memory, region by region if that
// was negotiated and it does not know yet, else by the whole table.
func (f *Frontend) ShareMemory() error {
	if !f.slots() {
		return f.Conn.Do(wire.SetMemTable, wire.AppendMemTable(nil, f.RAM.Announced), f.RAM.FDs...)
	}
	if f.mapped && !f.o.Old {
		return nil
	}
	f.mapped = true
	for i := range f.RAM.Announced {
		if err := f.AddRegion(i); err != nil {
			return err
		}
	}
	return nil
}

// AddRegion announces one of RAM.Announced.
func (f *Frontend) AddRegion(i int) error {
	return f.Conn.Do(wire.AddMemReg, wire.AppendSingleRegion(nil, f.RAM.Announced[i]), f.RAM.FDs[i])
}

// RemoveRegion takes one of RAM.Announced back.
func (f *Frontend) RemoveRegion(i int) error {
	return f.Conn.Do(wire.RemMemReg, wire.AppendSingleRegion(nil, f.RAM.Announced[i]))
}

// startRing starts one ring. With the generic device the control queue moves
// in front of the unused pairs if the driver uses one only.
func (f *Frontend) startRing(q *Queue) error {
	index := f.wireIndex(q)
	if index < 0 {
		return nil
	}
	q.Index = index
	c := f.Conn
	cfg := q.Driver.Config()
	err := c.Send(wire.SetVringNum, 0, wire.VringState{Index: uint32(index), Num: cfg.Size}.Append(nil))
	if err != nil {
		return err
	}
	if err := c.Send(wire.SetVringBase, 0, wire.VringState{Index: uint32(index), Num: q.base}.Append(nil)); err != nil {
		return err
	}
	if err := f.ring(wire.SetVringAddr, wire.VringAddr{
		Index: uint32(index), Desc: cfg.Desc, Used: cfg.Used, Avail: cfg.Avail, Log: cfg.Used,
	}.Append(nil)); err != nil {
		return err
	}
	// QEMU hands the descriptor over with a kick in it.
	if err := q.Kick.Signal(); err != nil {
		return err
	}
	if err := f.ringFD(wire.SetVringKick, q, q.Kick, f.o.PollBackend); err != nil {
		return err
	}
	return f.ringFD(wire.SetVringCall, q, q.Call, f.o.PollDriver)
}

// wireIndex returns the index under which the driver has set a queue up, or -1
// for one that it leaves alone.
func (f *Frontend) wireIndex(q *Queue) int {
	if f.Ctrl == nil {
		return q.Index
	}
	ctrl := f.ctrlIndex()
	switch {
	case q == &f.Ctrl.Queue:
		return ctrl
	case q.Index < ctrl:
		return q.Index
	default:
		return -1
	}
}

func (f *Frontend) setStatus(v uint8) error {
	if !f.Protocol.Has(wire.ProtocolStatus) {
		return nil
	}
	if v != 0 {
		if _, err := f.Conn.U64(wire.GetStatus, nil); err != nil {
			return err
		}
	}
	return f.Conn.Send(wire.SetStatus, 0, wire.AppendU64(nil, uint64(v)))
}

// StopQueue sends GET_VRING_BASE and returns the position to resume from.
func (f *Frontend) StopQueue(q *Queue) (uint32, error) {
	b, err := f.Conn.Call(wire.GetVringBase, wire.VringState{Index: uint32(q.Index)}.Append(nil))
	if err != nil {
		return 0, err
	}
	s, err := wire.DecodeVringState(b)
	q.base = s.Num
	return s.Num, err
}

// Stop is what QEMU does when the virtual machine pauses, or when the link is
// set down.
func (f *Frontend) Stop() error {
	if f.o.Old {
		if err := f.setStatus(0); err != nil {
			return err
		}
	}
	if f.o.Style == Generic {
		for i := range f.rings {
			if err := f.Enable(i, false); err != nil {
				return err
			}
		}
	}
	for _, q := range f.rings {
		if f.wireIndex(q) < 0 {
			continue
		}
		if _, err := f.StopQueue(q); err != nil {
			return err
		}
	}
	if f.o.Style == Netdev && !f.o.Old {
		return f.setStatus(0)
	}
	return nil
}

// Reset is what QEMU does when the guest resets the device, as at a reboot.
// The device does not work again before the next Start.
func (f *Frontend) Reset() error {
	if err := f.Stop(); err != nil {
		return err
	}
	f.fresh = true
	if f.o.Style == Generic {
		return nil
	}
	if f.Protocol.Has(wire.ProtocolResetDevice) && !f.o.Old {
		if err := f.Conn.Send(wire.ResetDevice, 0, nil); err != nil {
			return err
		}
	}
	f.active = 1
	return f.enablePairs()
}
