package harness

import (
	"bytes"
	"context"
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
	var err error
	if u.CPU, err = cpuTime(proc + "stat"); err != nil {
		return u, err
	}
	fields, err := statFields(proc + "stat")
	if err != nil {
		return u, err
	}
	pages, err := strconv.ParseInt(fields[24-firstField], 10, 64)
	if err != nil {
		return u, fmt.Errorf("harness: %sstat: %w", proc, err)
	}
	u.RSS = pages * int64(os.Getpagesize())
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

// DeviceCPU returns the processor time QEMU has spent so far on everything but
// executing the guest: emulated devices, moving frames of a tap device.
func (vm *VM) DeviceCPU(ctx context.Context) (time.Duration, error) {
	var cpus []struct {
		Thread int `json:"thread-id"`
	}
	if err := vm.monitor.Execute(ctx, "query-cpus-fast", nil, &cpus); err != nil {
		return 0, vm.explain(err)
	}
	sum, err := cpuTime(fmt.Sprintf("/proc/%d/stat", vm.process.Pid()))
	for _, c := range cpus {
		if err != nil {
			break
		}
		var guest time.Duration
		guest, err = cpuTime(fmt.Sprintf("/proc/%d/task/%d/stat", vm.process.Pid(), c.Thread))
		sum -= guest
	}
	return sum, err
}

// firstField is the number, in proc(5), of the first field that statFields
// returns; statLength how many it returns at least.
const (
	firstField = 3
	statLength = 24 - firstField + 1
)

// statFields returns the fields of a stat file that follow the name, which is in
// parentheses and may contain anything.
func statFields(path string) ([]string, error) {
	stat, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("harness: %w", err)
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < statLength {
		return nil, fmt.Errorf("harness: %s: %q", path, stat)
	}
	return fields, nil
}

// cpuTime reads user and kernel time from a stat file of proc(5).
func cpuTime(path string) (time.Duration, error) {
	fields, err := statFields(path)
	if err != nil {
		return 0, err
	}
	var ticks int64
	for _, f := range fields[14-firstField : 16-firstField] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("harness: %s: %w", path, err)
		}
		ticks += n
	}
	return time.Duration(ticks) * clockTick, nil
}
