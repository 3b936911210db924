package checksum

// Cursor walks the pieces of a scattered buffer once, front to back: guest
// memory that is read or written exactly once. Pieces may have any length, 0
// included. A copy of a Cursor is a second position in the same pieces. The
// zero value is at the end of nothing.
type Cursor struct {
	cur  []byte
	rest [][]byte
}

// NewCursor returns a cursor at the front of pieces. It keeps the slice, which
// must not change as long as the cursor is used.
func NewCursor(pieces [][]byte) Cursor {
	if len(pieces) == 0 {
		return Cursor{}
	}
	return Cursor{cur: pieces[0], rest: pieces[1:]}
}

// NewCursorAt returns a cursor at the front of b followed by pieces.
func NewCursorAt(b []byte, pieces [][]byte) Cursor { return Cursor{cur: b, rest: pieces} }

// Len returns the number of bytes in front of c. It visits every piece.
func (c *Cursor) Len() int {
	n := len(c.cur)
	for _, p := range c.rest {
		n += len(p)
	}
	return n
}

// Has reports whether the next n bytes are in one piece that c has reached.
// At the end of a piece it is false for all but 0.
func (c *Cursor) Has(n int) bool { return len(c.cur) >= n }

// Take returns the next n bytes, for which Has must hold, and moves past them.
func (c *Cursor) Take(n int) []byte {
	b := c.cur[:n:n]
	c.cur = c.cur[n:]
	return b
}

// Next returns the contiguous bytes at c, at most n, and moves past them. It
// is empty only when n is 0 or the end is reached.
func (c *Cursor) Next(n int) []byte {
	if len(c.cur) < n {
		return c.nextPiece(n)
	}
	b := c.cur[:n:n]
	c.cur = c.cur[n:]
	return b
}

// nextPiece is Next where the current piece is too short.
func (c *Cursor) nextPiece(n int) []byte {
	if !c.fill() {
		return nil
	}
	n = min(n, len(c.cur))
	b := c.cur[:n:n]
	c.cur = c.cur[n:]
	return b
}

// fill goes on to the next piece that is not empty if the current one is used
// up; false means that there is none.
func (c *Cursor) fill() bool {
	for len(c.cur) == 0 {
		if len(c.rest) == 0 {
			return false
		}
		c.cur, c.rest = c.rest[0], c.rest[1:]
	}
	return true
}

// Skip moves past n bytes, fewer at the end, and returns how many.
func (c *Cursor) Skip(n int) int {
	for left := n; left > 0; {
		b := c.Next(left)
		if len(b) == 0 {
			return n - left
		}
		left -= len(b)
	}
	return n
}

// Write stores b at c and moves past it. It returns how many bytes there was
// room for.
func (c *Cursor) Write(b []byte) int {
	done := 0
	for done < len(b) {
		d := c.Next(len(b) - done)
		if len(d) == 0 {
			break
		}
		copy(d, b[done:])
		done += len(d)
	}
	return done
}

// Read copies from c to b and moves past what was read. It returns how many
// bytes there were.
func (c *Cursor) Read(b []byte) int {
	done := 0
	for done < len(b) {
		s := c.Next(len(b) - done)
		if len(s) == 0 {
			break
		}
		copy(b[done:], s)
		done += len(s)
	}
	return done
}

// WriteSum is Write with the sum of the bytes stored.
func (c *Cursor) WriteSum(b []byte) (Acc, int) {
	s := Cursor{cur: b}
	return Transfer(c, &s, len(b))
}

// Transfer copies n bytes from src to dst, moves both past them and returns
// the sum of the bytes written, by the rules of Copy, and how many they are:
// fewer than n when either ends.
func Transfer(dst, src *Cursor, n int) (Acc, int) {
	if n > 0 && len(dst.cur) >= n && len(src.cur) >= n {
		a := Copy(dst.cur[:n], src.cur[:n])
		dst.cur, src.cur = dst.cur[n:], src.cur[n:]
		return a, n
	}
	var a Acc
	done := 0
	for done < n {
		s, d := pair(dst, src, n-done)
		if len(s) == 0 {
			break
		}
		a += Copy(d, s).At(done)
		done += len(s)
	}
	return a, done
}

// Move is Transfer without the sum.
func Move(dst, src *Cursor, n int) int {
	done := 0
	for done < n {
		s, d := pair(dst, src, n-done)
		if len(s) == 0 {
			break
		}
		copy(d, s)
		done += len(s)
	}
	return done
}

// pair returns the next bytes of both cursors, equally many and at most n, and
// moves past them. Both are empty when either cursor is at its end.
func pair(dst, src *Cursor, n int) (s, d []byte) {
	if !src.fill() || !dst.fill() {
		return nil, nil
	}
	n = min(n, len(src.cur), len(dst.cur))
	s, src.cur = src.cur[:n:n], src.cur[n:]
	d, dst.cur = dst.cur[:n:n], dst.cur[n:]
	return s, d
}
