package harness

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"vhost-user-nvgre/guest-tests/lab"
)

// T is what the harness needs of a test. *testing.T and *testing.B have it.
type T interface {
	Helper()
	Name() string
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Failed() bool
	Cleanup(f func())
	Context() context.Context
}

// openLab opens the lab of this process. Its progress, which matters in the
// first run only, goes to standard error so that it is seen while it happens.
var openLab = sync.OnceValues(func() (*lab.Lab, error) {
	return lab.Open(lab.Options{Logf: func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, format+"\n", args...)
	}})
})

// Lab returns the lab that all tests of a process share.
func Lab(t T) *lab.Lab {
	t.Helper()
	l, err := openLab()
	if err != nil {
		t.Fatalf("%v", err)
	}
	return l
}

// Start boots a guest that lives as long as the test. When the test fails, the
// end of the guest's console is in its log; a guest that crashes fails it.
func Start(t T, g Guest) *VM {
	t.Helper()
	return StartAll(t, g)[0]
}

// StartAll boots guests at the same time; see Start.
func StartAll(t T, guests ...Guest) []*VM {
	t.Helper()
	l := Lab(t)
	dir, err := l.CacheDir("console")
	if err != nil {
		t.Fatalf("%v", err)
	}
	guests = slices.Clone(guests)
	for i := range guests {
		g := &guests[i]
		if g.Logf == nil {
			g.Logf = t.Logf
		}
		g.setDefaults()
		if g.ConsoleFile == "" {
			g.ConsoleFile = fmt.Sprintf("%s/%s-%s.log", dir, strings.ReplaceAll(t.Name(), "/", "-"), g.Name)
		}
	}
	vms, err := BootAll(t.Context(), l, guests...)
	if err != nil {
		t.Fatalf("%v", err)
	}
	for _, vm := range vms {
		t.Cleanup(func() {
			if !vm.closed() {
				if err := vm.Crashed(); err != nil {
					t.Errorf("%v", err)
				}
			}
			vm.Close()
			if t.Failed() {
				t.Logf("guest %s: end of its console (all of it in %s):\n%s", vm.Guest.Name, vm.Guest.ConsoleFile, vm.ConsoleEnd())
			}
		})
	}
	return vms
}

// TempDir returns a folder for sockets that lives as long as the test.
func TempDir(t T) *Dir {
	t.Helper()
	d, err := NewDir()
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() {
		if err := d.Remove(); err != nil {
			t.Errorf("%v", err)
		}
	})
	return d
}
