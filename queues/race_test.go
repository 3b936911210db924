//go:build race

package queues

// raceEnabled says that the race detector makes everything slow.
const raceEnabled = true
