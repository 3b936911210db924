package ndis

import (
	"fmt"
	"math/bits"
	"strings"
)

// flagNames name the bits of a word, from bit 0 on; "" is a bit without name.
type flagNames []string

// join returns the names of the bits that are set, and what is left as a
// number; none is "0".
func (n flagNames) join(v uint32) string {
	if v == 0 {
		return "0"
	}
	var parts []string
	var rest uint32
	for v != 0 {
		i := bits.TrailingZeros32(v)
		v &^= 1 << i
		if i < len(n) && n[i] != "" {
			parts = append(parts, n[i])
		} else {
			rest |= 1 << i
		}
	}
	if rest != 0 {
		parts = append(parts, fmt.Sprintf("0x%x", rest))
	}
	return strings.Join(parts, "|")
}

// enumName returns the name of a value, or the value as a number.
func enumName[T ~uint8 | ~uint32](names []string, v T) string {
	if uint64(v) < uint64(len(names)) && names[v] != "" {
		return names[v]
	}
	return fmt.Sprintf("%d", uint64(v))
}
