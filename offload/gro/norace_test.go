//go:build !race

package gro_test

// raceEnabled says whether the race detector is at work.
const raceEnabled = false
