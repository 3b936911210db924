// Package stream checks that data arrives as it was sent.
//
// Both ends make the same data from a seed. The receiver compares every byte of
// a TCP stream and every datagram with what should come, so it can say where
// they differ first, and both ends report a hash of what they sent and
// received. Command streamcheck runs it in guests; a test describes a Job and
// reads a Report.
package stream
