//go:build race

package queues

// raceEnabled says whether the race detector is at work.
const raceEnabled = true
