package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"vhost-user-nvgre/guest-tests/harness"
	"vhost-user-nvgre/guest-tests/lab"
)

// machine is what measurements run on.
type machine struct {
	Options
	lab     *lab.Lab
	dir     *harness.Dir
	loadgen string // path of the program
	restore func() // gives huge pages back
}

// hugePages is how many 2 MiB pages a row takes at most: testpmd's memory and
// that of the generator's two ends.
const hugePages = 300

func newMachine(ctx context.Context, l *lab.Lab, o Options) (*machine, error) {
	m := &machine{Options: o, lab: l, restore: func() {}}
	if n := runtime.NumCPU(); n < 2 {
		return nil, fmt.Errorf("bench: %d processor, want one for the back end and one for the generator", n)
	}
	var err error
	if m.loadgen, err = l.GoBuild(ctx, "./guest-tests/cmd/loadgen"); err != nil {
		return nil, err
	}
	if m.dir, err = harness.NewDir(); err != nil {
		return nil, err
	}
	if m.HugePages {
		if err := m.reserve(); err != nil {
			return nil, errors.Join(err, m.close())
		}
	}
	return m, nil
}

func (m *machine) close() error {
	m.restore()
	return m.dir.Remove()
}

// Files of the kernel about 2 MiB pages.
const (
	hugePool = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"
	hugeFree = "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages"
)

// reserve sees to it that there are huge pages.
func (m *machine) reserve() error {
	free, pool := readInt(hugeFree), readInt(hugePool)
	if free >= hugePages {
		return nil
	}
	if err := os.WriteFile(hugePool, strconv.AppendInt(nil, pool+hugePages-free, 10), 0); err != nil {
		return fmt.Errorf("bench: reserving huge pages: %w", err)
	}
	m.restore = func() { _ = os.WriteFile(hugePool, strconv.AppendInt(nil, pool, 10), 0) }
	if free = readInt(hugeFree); free < hugePages {
		return fmt.Errorf("bench: the system has %d pages of 2 MiB to spare, want %d", free, hugePages)
	}
	return nil
}

// readInt returns 0 for a file that has no number.
func readInt(file string) int64 {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// describe returns a line about the machine.
func (m *machine) describe() string {
	pages := "4 KiB pages"
	if m.HugePages {
		pages = "2 MiB pages"
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return fmt.Sprintf("%s, %d processors, %s", cpuModel(), runtime.NumCPU(), pages)
	}
	return fmt.Sprintf("%s, %d processors, Linux %s, %s", cpuModel(), runtime.NumCPU(), unix.ByteSliceToString(u.Release[:]), pages)
}

// cpuModel returns the processor's name with the numbers that tell its kind
// where the name does not.
func cpuModel() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return "unknown processor"
	}
	defer f.Close()
	info := map[string]string{}
	for s := bufio.NewScanner(f); s.Scan() && s.Text() != ""; { // The first processor's.
		if k, v, ok := strings.Cut(s.Text(), ":"); ok {
			info[strings.TrimSpace(k)] = strings.TrimSpace(v)
		}
	}
	return fmt.Sprintf("%s (family %s, model %s, %s MHz)", info["model name"], info["cpu family"], info["model"], info["cpu MHz"])
}
