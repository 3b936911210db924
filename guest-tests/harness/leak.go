package harness

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/goleak"
)

// leakPatience is how long something may still be on its way out when a test
// ends.
const leakPatience = 3 * time.Second

// CheckLeaks fails the test if, when it is over, this process holds a file
// descriptor, or runs a goroutine or a child process, that it did not at the
// time of the call. Call it first, so that it looks last. Tests that use it
// cannot run in parallel with others.
func CheckLeaks(t T) {
	t.Helper()
	// What the runtime opens when a program first waits for a file, it keeps.
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatalf("%v", err)
	}
	r.Close()
	w.Close()
	goroutines := goleak.IgnoreCurrent()
	fds, err := openFDs()
	if err != nil {
		t.Fatalf("%v", err)
	}
	children, err := childProcesses()
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() {
		if err := goleak.Find(goroutines); err != nil {
			t.Errorf("goroutines left behind: %v", err)
		}
		if left := remaining(openFDs, fds); len(left) > 0 {
			t.Errorf("file descriptors left behind: %s", strings.Join(left, ", "))
		}
		if left := remaining(childProcesses, children); len(left) > 0 {
			t.Errorf("child processes left behind: %s", strings.Join(left, ", "))
		}
	})
}

// remaining returns what list shows beyond the items before, waiting a while
// for it to go.
func remaining(list func() ([]string, error), before []string) []string {
	for end := time.Now().Add(leakPatience); ; time.Sleep(retryInterval) {
		now, err := list()
		if err != nil {
			return []string{err.Error()}
		}
		left := now[:0]
		for _, n := range now {
			if !slices.Contains(before, n) {
				left = append(left, n)
			}
		}
		if len(left) == 0 || time.Now().After(end) {
			return left
		}
	}
}

// openFDs lists what this process has open, as "number target".
func openFDs() ([]string, error) {
	const dir = "/proc/self/fd"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("harness: %w", err)
	}
	var list []string
	for _, e := range entries {
		target, err := os.Readlink(dir + "/" + e.Name())
		if err != nil || strings.HasPrefix(target, "/proc/") { // Closed meanwhile; the folder itself.
			continue
		}
		list = append(list, e.Name()+" "+target)
	}
	return list, nil
}

// childProcesses lists the processes this one is the parent of, as "pid name".
func childProcesses() ([]string, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, fmt.Errorf("harness: %w", err)
	}
	self := strconv.Itoa(os.Getpid())
	var list []string
	for _, file := range stats {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // Gone.
		}
		// pid (name) state ppid …; the name may contain anything.
		open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
		if open < 0 || end < open {
			continue
		}
		if f := strings.Fields(string(b[end+1:])); len(f) > 1 && f[1] == self {
			list = append(list, string(b[:open])+string(b[open+1:end]))
		}
	}
	return list, nil
}
