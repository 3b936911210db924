// Package rig sets the scene of a guest test: a daemon with ports, guests with
// NICs on them, and what the daemon counted while something went on.
//
// It sees the daemon as its users do: it runs the built programs and reads
// what nvgrectl prints.
package rig
