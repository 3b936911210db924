package vring_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"vhost-user-nvgre/virtio/eventfd"
	"vhost-user-nvgre/virtio/vring"
	"vhost-user-nvgre/virtio/vringtest"
)

// wakeTimeout is far beyond what a wake-up takes on a loaded machine.
const wakeTimeout = 20_000 // ms

// A driver and a device, each in its goroutine, sleep whenever they have
// nothing to do and wake each other only when the other side asked for it. A
// lost wake-up would stop both.
//
// Shows: VNET-014, VNET-015, VNET-016, VNET-017, VNET-018
func TestNoLostWakeUp(t *testing.T) {
	for _, mode := range modes {
		for _, size := range []uint32{1, 2, 16, 256} {
			t.Run(fmt.Sprintf("%s/%d", mode.name, size), func(t *testing.T) {
				r := newRig(t, size, mode.features)
				s := &stress{rig: r, total: 20000}
				if size == 1 {
					s.total = 4000 // each buffer is a round trip
				}
				for _, fd := range []**eventfd.FD{&s.kick, &s.call} {
					var err error
					if *fd, err = eventfd.New(); err != nil {
						t.Fatal(err)
					}
					defer (*fd).Close()
				}
				var wg sync.WaitGroup
				wg.Go(func() { s.deviceErr = s.device() })
				wg.Go(func() { s.driverErr = s.drive() })
				wg.Wait()
				if s.deviceErr != nil || s.driverErr != nil {
					t.Fatalf("device: %v; driver: %v", s.deviceErr, s.driverErr)
				}
				if s.calls >= s.total && size > 16 || s.kicks > s.total {
					t.Errorf("%d buffers took %d kicks and %d calls: nothing is suppressed", s.total, s.kicks, s.calls)
				}
			})
		}
	}
}

type stress struct {
	*rig
	total                int
	kick, call           *eventfd.FD
	kicks, calls         int // by driver, by device
	deviceErr, driverErr error
}

// device returns every buffer with its length, doubled.
func (s *stress) device() error {
	random := rand.New(rand.NewPCG(2, 2))
	var b vring.Batch
	for taken := 0; taken < s.total; {
		b.Reset()
		n, err := s.ring.Take(&b, 1+random.IntN(64))
		if err != nil {
			return err
		}
		if n == 0 {
			if s.ring.Arm() {
				continue
			}
			if !s.kick.Wait(wakeTimeout) {
				return fmt.Errorf("no kick after %d buffers", taken)
			}
			if random.IntN(2) == 0 {
				s.ring.Disarm()
			}
			continue
		}
		for _, c := range b.Chains {
			s.ring.Complete([]vring.Used{c.Used(2 * uint32(len(b.Readable(c)[0])))})
			taken++
			if random.IntN(8) == 0 && s.ring.NeedNotify() {
				s.calls++
				_ = s.call.Signal()
			}
		}
		if s.ring.NeedNotify() {
			s.calls++
			_ = s.call.Signal()
		}
		if random.IntN(50) == 0 {
			_ = s.call.Signal() // spurious ones must do no harm
		}
	}
	return nil
}

// drive adds buffers numbered by their length and takes them back.
func (s *stress) drive() error {
	random := rand.New(rand.NewPCG(3, 3))
	d := s.driver
	added, popped := 0, 0
	for popped < s.total {
		for n := random.IntN(100); n > 0 && added < s.total; n-- {
			if _, ok := d.Add(vringtest.Elem{Addr: s.mem.Info.Guest, Len: uint32(added%1000 + 1)}); !ok {
				break
			}
			added++
		}
		d.Publish()
		if d.NeedKick() || random.IntN(50) == 0 {
			s.kicks++
			_ = s.kick.Signal()
		}
		progress := popped
		for {
			_, n, ok := d.Pop()
			if !ok {
				break
			}
			if n != 2*uint32(popped%1000+1) {
				return fmt.Errorf("buffer %d came back with %d bytes, want %d", popped, n, 2*(popped%1000+1))
			}
			popped++
		}
		if popped > progress || popped == s.total || d.Free() > 0 && added < s.total {
			d.SetInterrupts(false)
			continue
		}
		d.SetInterrupts(true)
		if d.UsedIndex() != uint16(popped) {
			continue
		}
		if !s.call.Wait(wakeTimeout) {
			return fmt.Errorf("no call after %d buffers, %d waiting", popped, added-popped)
		}
	}
	return nil
}
