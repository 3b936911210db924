package loadgen

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Pin binds every thread of the process to a processor. Threads that come
// later inherit that from the ones that make them.
func Pin(cpu int) error {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return fmt.Errorf("loadgen: %w", err)
	}
	for _, t := range tasks {
		tid, err := strconv.Atoi(t.Name())
		if err != nil {
			return fmt.Errorf("loadgen: thread %q: %w", t.Name(), err)
		}
		if err := PinThread(tid, cpu); err != nil {
			return err
		}
	}
	return nil
}

// PinThread binds a thread, or with 0 the calling one, to a processor.
func PinThread(tid, cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	if err := unix.SchedSetaffinity(tid, &set); err != nil {
		return fmt.Errorf("loadgen: pinning to processor %d: %w", cpu, err)
	}
	return nil
}

// Realtime lets a thread, or with 0 the calling one, run before all ordinary
// threads.
func Realtime(tid int) error {
	a := unix.SchedAttr{Policy: unix.SCHED_FIFO, Priority: 1}
	if err := unix.SchedSetAttr(tid, &a, 0); err != nil {
		return fmt.Errorf("loadgen: real-time scheduling of thread %d: %w", tid, err)
	}
	return nil
}
