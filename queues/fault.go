package queues

import (
	"fmt"
	"runtime/debug"
)

// vanished is the error for a fault in guest memory.
func vanished(f faultAddress) error {
	return fmt.Errorf("guest memory at 0x%x vanished; was its file truncated?", f.Addr())
}

// guarded runs f, which touches guest memory for a control path, and returns
// its error, or one that says that the memory is gone. Locks that the caller
// holds are released in the usual way.
func guarded(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			fault, ok := r.(faultAddress)
			if !ok {
				panic(r)
			}
			err = vanished(fault)
		}
	}()
	return f()
}
