package vhostuser

import (
	"context"
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vhost-user-nvgre/vhostuser/frontendtest"
	"vhost-user-nvgre/vhostuser/wire"
	"vhost-user-nvgre/virtio"
)

// supply has a descriptor of each kind that a front end may send.
type supply [6]int

func newSupply(t testing.TB) (s supply) {
	sock, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	t.Cleanup(func() { unix.Close(sock[0]); unix.Close(sock[1]) })
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	must(t, err)
	t.Cleanup(func() { unix.Close(null) })
	return supply{newEventfd(t).Int(), memfd(t, memSize), newEventfd(t).Int(), sock[0], null, memfd(t, 4096)}
}

// pick returns n descriptors, beginning with the given kind.
func (s supply) pick(kind, n int) []int {
	var fds []int
	for i := range n {
		fds = append(fds, s[(kind+i)%len(s)])
	}
	return fds
}

// fuzzSession runs one session whose input is what drive sends, to its end, and
// checks that nothing is left of it.
func fuzzSession(t *testing.T, drive func(c *frontendtest.Conn)) {
	t.Helper()
	fds, maps := openFDs(t), mappings(t)
	c, file, err := frontendtest.Pair()
	must(t, err)
	e, err := Open(Options{File: file, Backend: newFake(t), Log: &testLog{}})
	must(t, err)
	e.times = shortTiming
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	end := make(chan struct{})
	go func() {
		defer close(end)
		_ = e.Serve(ctx)
	}()
	// Replies must not fill the socket.
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		for {
			m, err := c.Recv()
			m.CloseFDs()
			if err != nil {
				return
			}
		}
	}()
	drive(c)
	_ = c.CloseWrite() // fails if the session is over
	<-end
	if ctx.Err() != nil {
		t.Error("the session does not end with its input")
	}
	<-drained
	c.Close()
	if got := openFDs(t); got != fds {
		t.Errorf("%d descriptors are open, want %d", got, fds)
	}
	if got := mappings(t); got != maps {
		t.Errorf("%d mappings, want %d", got, maps)
	}
}

// FuzzStream sends any bytes with any descriptors: chunks of a kind of
// descriptor, their number, a length, and that many bytes.
func FuzzStream(f *testing.F) {
	chunk := func(kind, fds byte, b []byte) []byte {
		return append([]byte{kind, fds, byte(len(b))}, b...)
	}
	msg := func(r wire.Request, flags uint32, payload []byte) []byte {
		return append(wire.Header{Request: uint32(r), Flags: 1 | flags, Size: uint32(len(payload))}.Append(nil), payload...)
	}
	f.Add([]byte{})
	f.Add(chunk(0, 0, msg(wire.GetFeatures, 0, nil)))
	f.Add(chunk(0, 40, msg(wire.SetVringCall, 8, ringFDOf(1))))
	f.Add(append(chunk(0, 0, msg(wire.SetProtocolFeatures, 0, wire.AppendU64(nil, 0x18228))),
		append(chunk(1, 1, msg(wire.AddMemReg, 8, wire.AppendSingleRegion(nil, testRegion))), chunk(1, 3, []byte{1, 2, 3})...)...))
	f.Fuzz(func(t *testing.T, in []byte) {
		fds := newSupply(t)
		fuzzSession(t, func(c *frontendtest.Conn) {
			for len(in) >= 3 {
				kind, n, size := int(in[0]), int(in[1])%64, min(int(in[2]), len(in)-3)
				if size == 0 {
					n = 0 // a stream carries no descriptors without bytes
				}
				if err := c.SendRaw(in[3:3+size], fds.pick(kind, n)...); err != nil && errors.Is(err, unix.EPIPE) {
					return
				}
				in = in[3+size:]
			}
		})
	})
}

// FuzzRequests sends well-formed messages in any order with values that are
// mostly near to sense, so that sessions live long and get into every state.
// The fake backend checks the contract.
func FuzzRequests(f *testing.F) {
	// Operations of one byte and an argument each; see request.
	f.Add([]byte{16, 1, 2, 0, 37, 0, 8, 0, 9, 0, 12, 0, 18, 1, 11, 0})
	f.Add([]byte{16, 1, 37, 0, 37, 1, 8, 1, 9, 17, 12, 1, 38, 0, 37, 0, 38, 0, 34, 0})
	f.Add([]byte{5, 3, 8, 0, 9, 0, 12, 0, 5, 1, 9, 16, 12, 128, 2, 1, 5, 7, 21, 0, 21, 4})
	f.Add([]byte{12, 0, 12, 1, 9, 0, 8, 0, 37, 0, 2, 0, 2, 255, 39, 15, 24, 3, 25, 9, 20, 8, 11, 0, 11, 9})
	f.Fuzz(func(t *testing.T, in []byte) {
		in = in[:min(len(in), 512)]
		fds := newSupply(t)
		fuzzSession(t, func(c *frontendtest.Conn) {
			for ; len(in) >= 2; in = in[2:] {
				r, flags, payload, kind, n := request(in[0], in[1])
				if err := c.Send(r, flags, payload, fds.pick(kind, n)...); err != nil {
					return
				}
			}
		})
	})
}

// request makes a message of a request number (its upper bits ask for an
// acknowledgement and for a wrong descriptor) and an argument.
func request(op, arg byte) (r wire.Request, flags uint32, payload []byte, kind, fds int) {
	r = wire.Request(op & 0x3f)
	flags = uint32(op>>6&1) * wire.FlagNeedReply
	kind = int(op >> 7 * 3)
	ring := uint32(arg & 7) // of 5
	high := uint32(arg >> 3)
	switch r {
	case wire.SetFeatures:
		payload = wire.AppendU64(nil, uint64(arg&1)<<30|uint64(virtio.FeatureVersion1)<<(high&1)|uint64(high>>1))
	case wire.SetProtocolFeatures:
		payload = wire.AppendU64(nil, uint64(protocolOffered)&^uint64(arg))
	case wire.SetMemTable:
		var regions []wire.MemRegion
		for i := range uint64(arg & 3) {
			regions = append(regions, fuzzRegion(i*uint64(high)))
		}
		payload, kind, fds = wire.AppendMemTable(nil, regions), kind+1, len(regions)+int(arg>>7)
		if fds > 1 {
			kind = 1 // memfd, eventfd: mapping fails half way
		}
	case wire.AddMemReg:
		payload, kind, fds = wire.AppendSingleRegion(nil, fuzzRegion(uint64(arg))), kind+1, 1
	case wire.RemMemReg:
		payload = wire.AppendSingleRegion(nil, fuzzRegion(uint64(arg)))
	case wire.SetVringAddr:
		a := addrOf(ring)
		a.Desc += uint64(high) << 16
		payload = a.Append(nil)
	case wire.SetVringNum:
		payload = state(ring, 1<<(high&15))
	case wire.SetVringBase, wire.GetVringBase, wire.SetVringEnable:
		payload = state(ring, high)
	case wire.SetVringKick, wire.SetVringCall, wire.SetVringErr:
		payload = wire.VringFD{Index: uint8(ring), NoFD: high&1 != 0}.Append(nil)
		fds = int(1 - high&1 + high>>4)
	case wire.SetBackendReqFD:
		kind, fds = 3+kind, 1
	case wire.GetConfig, wire.SetConfig:
		payload = wire.Config{Offset: high * 16, Flags: ring >> 1, Bytes: make([]byte, arg)}.Append(nil)
	default:
		payload = make([]byte, r.Shape().Min)
		if len(payload) >= 8 {
			binary.NativeEndian.PutUint64(payload, uint64(arg))
		}
		fds = r.Shape().FDs
	}
	return r, flags, payload, kind, fds
}

// fuzzRegion returns one of a few regions, some of which overlap or are bad.
func fuzzRegion(n uint64) wire.MemRegion {
	r := testRegion
	r.Guest += n & 3 * memSize
	r.User += n & 3 * memSize
	if n&4 != 0 {
		r.Size /= 2
	}
	if n&8 != 0 {
		r.Offset = memSize / 2
	}
	if n&16 != 0 {
		r.Guest -= memSize / 4
	}
	return r
}
