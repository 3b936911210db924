package loadgen

import (
	"slices"
	"testing"

	"vhost-user-nvgre/virtio"
)

// right returns what a back end that is right delivers of f.
func right(t *testing.T, f *frame, o Outcome, mss int) (list []delivery) {
	t.Helper()
	switch o {
	case Whole:
		return []delivery{{f.hdr, slices.Clone(f.bytes)}}
	case Finished:
		return []delivery{{bytes: slices.Clone(f.final)}}
	}
	offset := 0
	for part := range slices.Chunk(f.payload(), mss) {
		b, err := f.build(part, 3<<16+uint32(offset))
		if err != nil {
			t.Fatalf("building a segment: %v", err)
		}
		offset += len(part)
		list = append(list, delivery{bytes: slices.Clone(b)})
	}
	return list
}

func TestCheck(t *testing.T) {
	const mss = 400
	for _, kind := range Kinds() {
		outcomes := []Outcome{Whole}
		if kinds[kind].partial {
			outcomes = append(outcomes, Finished)
		}
		if kinds[kind].super {
			outcomes = append(outcomes, Segments)
		}
		for _, o := range outcomes {
			t.Run(string(kind)+" "+string(o), func(t *testing.T) { testCheck(t, kind, o, mss) })
		}
	}
}

func testCheck(t *testing.T, kind Kind, o Outcome, mss int) {
	f, err := newFrame(kind, 1351, mss, 3)
	if err != nil {
		t.Fatalf("newFrame(%s): %v", kind, err)
	}
	c := checker{outcome: o, mss: mss}
	good := func() []delivery { return right(t, f, o, mss) }
	if n := len(good()); c.frames(f) != n {
		t.Errorf("frames() = %d, want %d", c.frames(f), n)
	}
	if err := c.check(f, good()); err != nil {
		t.Errorf("check() of what is right = %v", err)
	}
	lax := c
	lax.lax = true
	if err := lax.check(f, good()); err != nil {
		t.Errorf("lax check() of what is right = %v", err)
	}
	tcp := kinds[kind].headers - 20
	for _, tt := range []struct {
		name string
		harm func([]delivery)
		lax  bool // seen all the same
	}{
		{"last byte of the payload", func(d []delivery) { last(d).bytes[len(last(d).bytes)-1] ^= 1 }, true},
		{"first byte of the payload", func(d []delivery) { d[0].bytes[tcp+20] ^= 1 }, true},
		{"short", func(d []delivery) { last(d).bytes = last(d).bytes[:len(last(d).bytes)-1] }, true},
		{"nothing but blanks", func(d []delivery) { d[0].bytes = slices.Repeat([]byte{blank}, len(d[0].bytes)) }, true},
		{"another frame", func(d []delivery) { d[0].bytes[tcp+4] ^= 1 }, true},
		{"checksum", func(d []delivery) { d[0].bytes[tcp+16] ^= 1 }, o == Finished},
		{"packet header", func(d []delivery) { d[0].hdr.Flags ^= virtio.HdrNeedsCsum }, false},
	} {
		d := good()
		tt.harm(d)
		if err := c.check(f, d); err == nil {
			t.Errorf("check() says nothing of %s being wrong", tt.name)
		}
		if err := lax.check(f, d); tt.lax && err == nil {
			t.Errorf("lax check() says nothing of %s being wrong", tt.name)
		}
	}
}

func last(d []delivery) *delivery { return &d[len(d)-1] }
