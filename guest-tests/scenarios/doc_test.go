// Package scenarios puts the daemon through what happens to NICs: on every
// front end and QEMU, with real guests.
//
// TestCombinations passes traffic in every combination of what a front end may
// negotiate. TestScenes does one thing after the other to three guests that
// share a daemon, one for each front end; what it does is in the file named
// after it. TestRestart ends the daemon under running guests. TestAttach plugs
// NICs into guests that have none by nvgrectl.
package scenarios
