package vhostuser

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"vhost-user-nvgre/vhostuser/wire"
)

func TestGetConfig(t *testing.T) {
	b := newFake(t)
	r := ready(t, b)
	for _, c := range []struct {
		offset uint32
		n      int
	}{{0, 28}, {0, 24}, {6, 2}, {27, 1}, {28, 0}, {20, 100}, {0, 256}, {256, 0}, {255, 1}} {
		req := wire.Config{Offset: c.offset, Flags: wire.ConfigMigration, Bytes: bytes.Repeat([]byte{0xee}, c.n)}.Append(nil)
		got, err := r.Call(wire.GetConfig, req)
		if err != nil {
			t.Fatal(err)
		}
		want := bytes.Clone(req)
		clear(want[12:])
		if int(c.offset) < len(b.config) {
			copy(want[12:], b.config[c.offset:])
		}
		if !bytes.Equal(got, want) {
			t.Errorf("GET_CONFIG %d+%d = % x, want % x", c.offset, c.n, got, want)
		}
	}
}

// TestConfigBounds: QEMU takes a reply without payload for a failure.
func TestConfigBounds(t *testing.T) {
	b := newFake(t)
	r := ready(t, b)
	for _, c := range []wire.Config{
		{Offset: 1, Bytes: make([]byte, 256)},
		{Offset: 256, Bytes: make([]byte, 1)},
		{Offset: 0xfffff000, Bytes: make([]byte, 28)},
		{Offset: 0xffffffff, Bytes: make([]byte, 1)},
		{Flags: 2},
	} {
		got, err := r.Call(wire.GetConfig, c.Append(nil))
		if err != nil || len(got) != 0 {
			t.Errorf("GET_CONFIG of %d+%d = % x, %v, want an empty reply", c.Offset, len(c.Bytes), got, err)
		}
		r.refused(wire.SetConfig, c.Append(nil))
	}
	r.goesOn()
	b.want()
}

// TestConfigSizeField: the size field has to agree with the message.
func TestConfigSizeField(t *testing.T) {
	for _, size := range []uint32{0, 27, 29, 256, 0xffffffff} {
		payload := wire.Config{Bytes: make([]byte, 28)}.Append(nil)
		binary.NativeEndian.PutUint32(payload[4:], size)
		r := ready(t, newFake(t))
		must(t, r.Send(wire.GetConfig, 0, payload))
		r.ends("GET_CONFIG", "payload of 28 bytes, want")
		r = ready(t, newFake(t))
		r.refused(wire.SetConfig, payload)
	}
}

func TestSetConfig(t *testing.T) {
	b := newFake(t)
	r := ready(t, b)
	write := wire.Config{Offset: 6, Bytes: []byte{1, 0}}.Append(nil)
	must(t, r.Do(wire.SetConfig, write))
	b.want("WriteConfig 6+2")
	b.answer(func() { b.refuseConfig = errors.New("status is read-only") })
	r.refused(wire.SetConfig, write)
	must(t, r.Send(wire.SetConfig, 0, write))
	r.goesOn() // a guest must not be able to end the session
	if !r.log.has("warn SET_CONFIG refused: status is read-only") {
		t.Errorf("log lacks the reason:\n%s", r.log)
	}
}

func TestMTU(t *testing.T) {
	b := newFake(t)
	r := ready(t, b)
	must(t, r.Do(wire.NetSetMTU, wire.AppendU64(nil, 9000)))
	b.want("SetMTU 9000")
	b.answer(func() { b.refuseMTU = errors.New("mtu 9001, want at most 9000") })
	r.refused(wire.NetSetMTU, wire.AppendU64(nil, 9001))
	must(t, r.Send(wire.NetSetMTU, 0, wire.AppendU64(nil, 1<<63)))
	r.goesOn()
	b.want("SetMTU 9001", "SetMTU 9223372036854775808")
}

func TestStatus(t *testing.T) {
	b := newFake(t)
	r := ready(t, b)
	must(t, r.Do(wire.SetStatus, wire.AppendU64(nil, 0xf)))
	if v, err := r.U64(wire.GetStatus, nil); err != nil || v != 0xf {
		t.Errorf("GET_STATUS = 0x%x, %v, want 0xf", v, err)
	}
	r.refused(wire.SetStatus, wire.AppendU64(nil, 0x100))
	r.refused(wire.SetStatus, wire.AppendU64(nil, 1<<63))
	// QEMU 7.2 sends 0 before it stops the rings: they go on.
	r.startRing(0)
	b.take()
	must(t, r.Do(wire.SetStatus, wire.AppendU64(nil, 0)))
	b.want("SetStatus 0x0")
}

func TestResetDevice(t *testing.T) {
	b := newFake(t)
	r := ready(t, b)
	must(t, r.Do(wire.SetVringEnable, state(0, 1)))
	must(t, r.Do(wire.SetVringCall, ringFDOf(0), newEventfd(t).Int()))
	r.startRing(0)
	b.take()
	must(t, r.Do(wire.ResetDevice, nil))
	b.want("StopQueue 0", "Reset")
	snap := r.e.Snapshot()
	if got, want := snap.Rings[0], (RingSnapshot{Size: 256}); got != want {
		t.Errorf("Snapshot().Rings[0] = %+v, want %+v", got, want)
	}
	if snap.MemoryRegions != 1 || snap.Protocol == 0 || snap.Features == 0 {
		t.Errorf("Snapshot() = %+v, want memory and features to stay", snap)
	}
	// Memory is not sent again.
	r.startRing(0)
	b.want("StartQueue 0 size 256 base 0 kick true")
	must(t, r.Do(wire.ResetDevice, nil))
	must(t, r.Do(wire.ResetDevice, nil))
}

func TestQueueNum(t *testing.T) {
	r := newRig(t, newFake(t))
	if v, err := r.U64(wire.GetQueueNum, nil); err != nil || v != 2 {
		t.Errorf("GET_QUEUE_NUM = %d, %v, want 2", v, err)
	}
}
