package rawframe

import (
	"encoding/binary"
	"slices"
	"testing"
)

func TestReadHashes(t *testing.T) {
	var b []byte
	for _, v := range []uint32{0xdeadbeef, 3, 1, 0, 0, 0, 0, 0} {
		b = binary.NativeEndian.AppendUint32(b, v)
	}
	want := []Arrival{{Hash: 0xdeadbeef, Queue: 2, Count: 1}, {Queue: -1}}
	if got, err := ReadHashes(b); err != nil || !slices.Equal(got, want) {
		t.Errorf("ReadHashes(%x) = %v, %v, want %v", b, got, err, want)
	}
	if got, err := ReadHashes(b[:17]); err == nil {
		t.Errorf("ReadHashes of 17 bytes = %v, want an error", got)
	}
}

func TestMark(t *testing.T) {
	for _, n := range []int{0, 1, 513, MaxMarks - 1} {
		if got, ok := Marked(Mark([]byte{1, 2, 3}, n)); got != n || !ok {
			t.Errorf("Marked(Mark(..., %d)) = %d, %t", n, got, ok)
		}
	}
	for _, b := range [][]byte{nil, {0xa7, 0xc3, 0}, make([]byte, 60)} {
		if n, ok := Marked(b); ok {
			t.Errorf("Marked(%x) = %d, want no mark", b, n)
		}
	}
}

// The jumps of the program lead to its end, and none leaves it.
func TestNoteArrival(t *testing.T) {
	p := noteArrival(7)
	for i, n := range p {
		if n.op != opIfEqual && n.op != opIfNot {
			continue
		}
		if to := i + 1 + int(n.off); to != len(p)-2 || p[to].op != opMoveImm {
			t.Errorf("instruction %d jumps to %d, want %d", i, to, len(p)-2)
		}
	}
	if last := p[len(p)-1]; last.op != opExit {
		t.Errorf("the last instruction is %#x, want the exit", last.op)
	}
}
