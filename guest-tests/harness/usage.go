package harness

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Usage is what a process on the host has taken so far or holds now.
type Usage struct {
	// CPU is the processor time used, in user and kernel mode.
	CPU time.Duration
	// FDs is the number of open file descriptors.
	FDs int
	// Mappings is the number of memory mappings.
	Mappings int
	// RSS is the resident memory, in bytes.
	RSS int64
}

// clockTick is the unit of times in /proc/PID/stat: USER_HZ, 100 on every
// architecture Go runs Linux on.
const clockTick = time.Second / 100

// Usage returns what the process uses.
func (p *Process) Usage() (Usage, error) { return usageOf(p.Pid()) }

func usageOf(pid int) (Usage, error) {
	var u Usage
	proc := fmt.Sprintf("/proc/%d/", pid)
	stat, err := os.ReadFile(proc + "stat")
	if err != nil {
		return u, fmt.Errorf("harness: %w", err)
	}
	// The name, field 2, is in parentheses and may contain anything.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	number := func(field int) (n int64) { // Numbered as in proc(5).
		if err == nil {
			n, err = strconv.ParseInt(fields[field-3], 10, 64)
		}
		return n
	}
	u.CPU = time.Duration(number(14)+number(15)) * clockTick
	u.RSS = number(24) * int64(os.Getpagesize())
	if err != nil {
		return u, fmt.Errorf("harness: %sstat: %w", proc, err)
	}
	if u.FDs, err = countFDs(proc + "fd"); err != nil {
		return u, err
	}
	maps, err := os.ReadFile(proc + "maps")
	if err != nil {
		return u, fmt.Errorf("harness: %w", err)
	}
	u.Mappings = bytes.Count(maps, []byte{'\n'})
	return u, nil
}

func countFDs(dir string) (int, error) {
	list, err := os.ReadDir(dir)
	if err != nil {
		return 0, fmt.Errorf("harness: %w", err)
	}
	return len(list), nil
}
