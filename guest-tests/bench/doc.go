// Package bench measures what one processor of the daemon forwards against what
// one of DPDK's testpmd does, over the same rings, driven by the same generator
// on another processor.
//
// Both back ends of a row run all the while and take turns, round by round: the
// daemon sleeps by itself when it has no work, testpmd, which polls for ever, is
// stopped by a signal. Figures of a round belong together, whatever else the
// machine did at that time, so ratios are taken by round and their median is
// what counts.
package bench
