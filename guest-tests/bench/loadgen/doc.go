// Package loadgen is a vhost-user front end that does nothing but keep a back
// end busy, so that the back end is what a measurement measures.
//
// It attaches to two ports of a back end, prepares transmit chains on one and
// receive buffers on the other, and from then on only moves available indices
// when used indices have moved: per look at the rings, not per frame, it loads
// two words and stores two. What was delivered it reads from the receiver's
// used ring.
//
// Whether what is counted is right is proven before and after, outside the
// measurement: a round of frames goes through with the receive buffers blanked
// and every byte that came is compared with what had to come.
package loadgen
