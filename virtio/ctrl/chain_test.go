package ctrl_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"vhost-user-nvgre/virtio/ctrl"
)

// split cuts b into random pieces, empty ones among them.
func split(r *rand.Rand, b []byte) (pieces [][]byte) {
	for len(b) > 0 {
		n := r.IntN(min(len(b), 9) + 1)
		pieces = append(pieces, b[:n:n])
		b = b[n:]
	}
	return pieces
}

// Shows: VNET-182, VNET-010
func TestReadAnySplit(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var c ctrl.Chain
	for n := range 300 {
		command := make([]byte, 2+n)
		for i := range command {
			command[i] = byte(r.Uint32())
		}
		for range 10 {
			if err := c.Read(split(r, bytes.Clone(command)), [][]byte{make([]byte, 1)}); err != nil {
				t.Fatalf("Read of %d bytes: %v", len(command), err)
			}
			if c.Class != command[0] || c.Cmd != command[1] || !bytes.Equal(c.Data, command[2:]) {
				t.Fatalf("Read of %x = class %d, command %d, data %x", command, c.Class, c.Cmd, c.Data)
			}
		}
	}
}

// The driver changes its buffer after it was read.
//
// Hostile: CVE-2026-86562, CVE-2020-10724
func TestReadCopies(t *testing.T) {
	shared := []byte{4, 1, 1, 2, 3, 4}
	var c ctrl.Chain
	if err := c.Read([][]byte{shared[:3], shared[3:]}, [][]byte{make([]byte, 1)}); err != nil {
		t.Fatal(err)
	}
	clear(shared)
	if c.Class != 4 || c.Cmd != 1 || !bytes.Equal(c.Data, []byte{1, 2, 3, 4}) {
		t.Errorf("after the driver's change: class %d, command %d, data %v; want what was read before", c.Class, c.Cmd, c.Data)
	}
}

// Hostile: 6ec1778134
// Shows: VNET-181
func TestReadFraming(t *testing.T) {
	room := [][]byte{make([]byte, 1)}
	for _, tt := range []struct {
		name               string
		readable, writable [][]byte
	}{
		{"nothing", nil, nil},
		{"no readable part", nil, room},
		{"empty readable elements", [][]byte{{}, {}}, room},
		{"class only", [][]byte{{0}}, room},
		{"no ack", [][]byte{{0, 0, 1}}, nil},
		{"empty writable element", [][]byte{{0, 0, 1}}, [][]byte{{}}},
	} {
		var c ctrl.Chain
		if err := c.Read(tt.readable, tt.writable); !errors.Is(err, ctrl.ErrFraming) {
			t.Errorf("%s: Read = %v, want an error that wraps ErrFraming", tt.name, err)
		}
	}
}

func TestReadBound(t *testing.T) {
	for _, tt := range []struct {
		data int
		ok   bool
	}{{ctrl.MaxData, true}, {ctrl.MaxData + 1, false}, {10 * ctrl.MaxData, false}} {
		var c ctrl.Chain
		whole := make([]byte, 2+tt.data)
		whole[0], whole[1] = ctrl.ClassMAC, 0
		err := c.Read([][]byte{whole[:1], whole[1:1000], whole[1000:]}, [][]byte{make([]byte, 1)})
		if (err == nil) != tt.ok || errors.Is(err, ctrl.ErrFraming) {
			t.Errorf("Read of %d bytes of data = %v, want ok %t and never ErrFraming", tt.data, err, tt.ok)
		}
		if len(c.Data) > ctrl.MaxData || tt.ok && len(c.Data) != tt.data {
			t.Errorf("Read of %d bytes of data kept %d", tt.data, len(c.Data))
		}
		if n := c.Reply(false, nil); n != 1 {
			t.Errorf("Reply after it wrote %d bytes, want 1", n)
		}
	}
	// Elements without bytes are as many as the ring admits, and cost nothing.
	var c ctrl.Chain
	if err := c.Read(append(make([][]byte, 40000), []byte{0, 0}), [][]byte{make([]byte, 1)}); err != nil || len(c.Data) != 0 {
		t.Errorf("Read behind 40000 empty elements = %v, data %d bytes", err, len(c.Data))
	}
}

// The bytes of writable memory after Reply, 0xee where untouched.
//
// Shows: VNET-173, VNET-180, VNET-183
func TestReply(t *testing.T) {
	const ok, bad = 0, 1
	params := []byte{1, 2, 3, 4, 5, 6, 7, 8}
	for _, tt := range []struct {
		name       string
		class, cmd uint8
		ok         bool
		result     []byte
		room       int
		want       []byte // written from the start
	}{
		{"ack", 0, 0, true, nil, 1, []byte{ok}},
		{"error", 0, 0, false, nil, 1, []byte{bad}},
		{"ack in a large buffer", 0, 0, true, nil, 20, []byte{ok}},
		{"unknown command", 77, 77, false, nil, 20, []byte{bad}},

		{"statistics after ack", 8, 1, true, params, 9, []byte{ok, 1, 2, 3, 4, 5, 6, 7, 8}},
		{"statistics cut", 8, 1, true, params, 4, []byte{ok, 1, 2, 3}},
		{"statistics without room", 8, 0, true, params, 1, []byte{ok}},
		{"statistics, room to spare", 8, 0, true, params, 30, []byte{ok, 1, 2, 3, 4, 5, 6, 7, 8}},
		{"statistics failed", 8, 1, false, params, 9, []byte{bad}},

		{"parameters before ack", 6, 3, true, params, 9, []byte{1, 2, 3, 4, 5, 6, 7, 8, ok}},
		{"parameters, room to spare", 6, 3, true, params, 30, []byte{1, 2, 3, 4, 5, 6, 7, 8, ok}},
		{"parameters failed", 6, 3, false, nil, 9, []byte{0, 0, 0, 0, 0, 0, 0, 0, bad}},
		{"parameters do not fit", 6, 3, true, params, 8, []byte{0, 0, 0, 0, 0, 0, 0, bad}},
		{"parameters without room", 6, 3, true, params, 1, []byte{bad}},
		{"parameters missing", 6, 3, true, nil, 9, []byte{0, 0, 0, 0, 0, 0, 0, 0, bad}},
		{"other coalescing command", 6, 2, true, nil, 9, []byte{ok}},
	} {
		r := rand.New(rand.NewPCG(3, 4))
		for range 20 {
			memory := bytes.Repeat([]byte{0xee}, tt.room)
			var c ctrl.Chain
			if err := c.Read([][]byte{{tt.class, tt.cmd}}, split(r, memory)); err != nil {
				t.Fatalf("%s: %v", tt.name, err)
			}
			n := c.Reply(tt.ok, tt.result)
			want := append(bytes.Clone(tt.want), bytes.Repeat([]byte{0xee}, tt.room-len(tt.want))...)
			if int(n) != len(tt.want) || !bytes.Equal(memory, want) {
				t.Fatalf("%s: Reply = %d, memory %x; want %d, %x", tt.name, n, memory, len(tt.want), want)
			}
		}
	}
}

// A chain used again forgets the one before.
func TestChainReuse(t *testing.T) {
	var c ctrl.Chain
	first := []byte{0xee, 0xee}
	if err := c.Read([][]byte{{8, 0, 1, 2, 3}}, [][]byte{first}); err != nil {
		t.Fatal(err)
	}
	second := []byte{0xee, 0xee}
	if err := c.Read([][]byte{{0, 1, 9}}, [][]byte{second}); err != nil {
		t.Fatal(err)
	}
	if c.Class != 0 || c.Cmd != 1 || !bytes.Equal(c.Data, []byte{9}) {
		t.Errorf("second Read: class %d, command %d, data %v", c.Class, c.Cmd, c.Data)
	}
	if n := c.Reply(true, nil); n != 1 || second[0] != 0 || first[0] != 0xee {
		t.Errorf("Reply = %d, first chain %x, second %x; want 1, untouched, 00ee", n, first, second)
	}
	if err := c.Read(nil, nil); err == nil || c.Data != nil {
		t.Errorf("Read of nothing = %v, data %v", err, c.Data)
	}
}
