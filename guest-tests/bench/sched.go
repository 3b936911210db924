package bench

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// workers returns the threads of a process that are bound to one processor, and
// that alone.
func workers(pid, cpu int) (tids []int, err error) {
	dir := fmt.Sprintf("/proc/%d/task", pid)
	tasks, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	for _, t := range tasks {
		tid, err := strconv.Atoi(t.Name())
		if err != nil {
			return nil, fmt.Errorf("bench: thread %q: %w", t.Name(), err)
		}
		var set unix.CPUSet
		if err := unix.SchedGetaffinity(tid, &set); errors.Is(err, unix.ESRCH) {
			continue
		} else if err != nil {
			return nil, fmt.Errorf("bench: thread %d: %w", tid, err)
		}
		if set.Count() == 1 && set.IsSet(cpu) {
			tids = append(tids, tid)
		}
	}
	return tids, nil
}

// waitWorkers is workers for a process that is about to bind some.
func waitWorkers(ctx context.Context, pid, cpu int) ([]int, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		tids, err := workers(pid, cpu)
		if err != nil || len(tids) > 0 {
			return tids, err
		}
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return nil, fmt.Errorf("bench: process %d has no thread on processor %d: %w", pid, cpu, ctx.Err())
		}
	}
}

// usage is the time that threads ran and the time that they could have run but
// something else did.
type usage struct{ ran, waited time.Duration }

// usageOf sums the usage of threads.
func usageOf(pid int, tids []int) (u usage, err error) {
	for _, tid := range tids {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/schedstat", pid, tid))
		if errors.Is(err, fs.ErrNotExist) {
			continue // The kernel keeps no such statistics.
		}
		if err != nil {
			return u, fmt.Errorf("bench: %w", err)
		}
		var n [2]int64
		for i, f := range strings.Fields(string(b))[:2] {
			if n[i], err = strconv.ParseInt(f, 10, 64); err != nil {
				return u, fmt.Errorf("bench: schedstat: %w", err)
			}
		}
		u.ran += time.Duration(n[0])
		u.waited += time.Duration(n[1])
	}
	return u, nil
}

// disturbed returns the share of the time between two usages that was not had.
func (u usage) disturbed(before usage) float64 {
	ran, waited := u.ran-before.ran, u.waited-before.waited
	if ran+waited <= 0 {
		return 0
	}
	return float64(waited) / float64(ran+waited)
}
