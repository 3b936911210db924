package guestmem

// Window is one region as guest addresses see it. The zero value is empty.
type Window struct {
	base uint64 // guest address of mem[0]
	mem  []byte
}

// At returns the n bytes at the guest-physical address, or nil when they do
// not lie within w.
func (w Window) At(addr, n uint64) []byte {
	off := addr - w.base
	if size := uint64(len(w.mem)); off >= size || n > size-off {
		return nil
	}
	return w.mem[off : off+n : off+n]
}

// Cursor looks guest addresses up in a Map and remembers the region that held
// the last one, where the next is likely to lie too. It belongs to one
// goroutine at a time; the zero value finds nothing.
type Cursor struct {
	m    *Map
	last Window
}

// Cursor returns a cursor on m.
func (m *Map) Cursor() Cursor { return Cursor{m: m} }

// Window returns the region found last. Its method is small enough to be
// inlined: a loop tries it first and falls back on the others.
func (c *Cursor) Window() Window { return c.last }

// Guest is Map.Guest.
func (c *Cursor) Guest(addr, n uint64) []byte {
	if b := c.last.At(addr, n); b != nil {
		return b
	}
	if c.m == nil {
		return nil
	}
	r := c.m.region(addr)
	if r == nil {
		return nil
	}
	c.last = Window{base: r.Guest, mem: r.mem}
	return r.at(addr-r.Guest, n)
}

// AppendGuest is Map.AppendGuest.
func (c *Cursor) AppendGuest(pieces [][]byte, addr, n uint64) ([][]byte, bool) {
	if b := c.Guest(addr, n); b != nil {
		return append(pieces, b), true
	}
	if c.m == nil {
		return pieces, n == 0
	}
	return c.m.appendPieces(pieces, addr, n)
}
