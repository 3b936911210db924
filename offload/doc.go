// Package offload decides what a frame on its way from a sender to a receiver
// still needs: nothing, a checksum, or segmentation; and does it while the
// frame is copied. It is arithmetic on bytes: no descriptors, no goroutines,
// no clocks. The work itself is in the packages below it.
//
// A frame is held as a private copy of its first bytes, which is all that is
// ever parsed, and slices of guest memory for the rest, which are read once,
// when they are copied to where they go.
package offload
