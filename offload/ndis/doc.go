// Package ndis has the structures, object identifiers and status codes by
// which an NDIS miniport is asked for its task offloads, receive side scaling
// and receive filters, as Windows driver headers define them for 64-bit
// systems: little endian, natural alignment, bit-fields from bit 0 up.
//
// Every structure begins with an NDIS_OBJECT_HEADER whose revision says which
// fields it has. Decode accepts every documented revision, and later ones as
// the last that is known; fields beyond the revision's size are neither read
// nor written and are zero in the decoded value. Encode writes the revision
// that the value names, 0 being the last. Reserved bits are written as 0 and
// not read.
//
// The values are plain. Decode copies what it keeps, so that its argument may
// be reused. The adapter package holds the state that these structures are
// about.
package ndis
