package vring

// Bounds of our own that tests measure.
const (
	MaxPieces = maxPieces
	TakeWork  = takeWork
)

// AtomicBody is one implementation of the 16- and 32-bit atomics.
type AtomicBody struct {
	Name         string
	Load16       func(p *uint16) uint16
	StoreFence16 func(p *uint16, v uint16)
	StoreFence32 func(p *uint32, v uint32)
}

// AtomicBodies has the implementation in use and the portable one, so that the
// latter is tested where it is not in use.
var AtomicBodies = []AtomicBody{
	{"in use", load16, storeFence16, storeFence32},
	{"word", load16Word, storeFence16Word, storeFence32Word},
}
