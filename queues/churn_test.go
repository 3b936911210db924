package queues

import (
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"vhost-user-nvgre/virtio"
)

// descriptors returns how many file descriptors are open.
func descriptors(t testing.TB) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// settled waits until there are no more goroutines and descriptors than before.
func settled(t *testing.T, goroutines, fds int) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		runtime.GC()
		g, f := runtime.NumGoroutine(), descriptors(t)
		if g <= goroutines && f <= fds {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines and %d descriptors, before: %d and %d", g, f, goroutines, fds)
		}
	}
}

// Ports come and go, with and without their drivers' rings stopped first, while
// others send to them and past them. Ports that stay go on, and nothing is left
// of those that went.
func TestChurn(t *testing.T) {
	e := newEngine(t, 2)
	a, b := plug(t, e, 1, nicOptions{}), plug(t, e, 2, nicOptions{})
	noise := plug(t, e, 3, nicOptions{pairs: 2})
	exchange(t, a, b, 60)
	var stop atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; !stop.Load(); i++ {
			dst := broadcast
			if i%2 == 0 {
				dst = macOf(100 + i%7)
			}
			if noise.tx(i%2).Free() == 0 {
				noise.reap(i % 2)
				continue
			}
			noise.send(i%2, virtio.NetHdr{}, frame(dst, noise.mac, 60+i%1400))
		}
	}()
	defer func() {
		stop.Store(true)
		<-done
	}()
	goroutines, fds := runtime.NumGoroutine(), descriptors(t)
	for i := range fewer(80) {
		n := plug(t, e, 100+i%7, nicOptions{pairs: 2 + i%2, size: 64, memory: 4 << 20, features: ctrlFeatures | virtio.FeatureMQ})
		if i%2 == 0 {
			n.startCtrl()
		}
		n.send(0, virtio.NetHdr{}, frame(broadcast, n.mac, 60)) // be learned
		if i%3 == 0 {
			n.recv(0)
		}
		if i%5 == 0 {
			n.port.StopQueue(0)
			n.port.StopQueue(1)
		}
		if i%4 == 0 {
			n.port.SetLink(false)
		}
		b.all(0)
		a.all(0)
		want := frame(b.mac, a.mac, 100+i)
		b.wait("a frame between the ports that stay", func() bool {
			for f, ok := b.poll(0); ok; f, ok = b.poll(0) {
				if string(f.b) == string(want) {
					return true
				}
			}
			// Where a machine is slow the noise leaves no buffers: then again.
			b.repost(0)
			a.reap(0)
			if a.tx(0).Free() > 0 {
				a.send(0, virtio.NetHdr{}, want)
			}
			return false
		})
		n.remove()
	}
	settled(t, goroutines, fds)
	if got := len(e.Ports()); got != 3 {
		t.Errorf("%d ports are left, want 3", got)
	}
	for _, r := range e.MACTable() {
		if r.Port != "vm1" && r.Port != "vm2" && r.Port != "vm3" {
			t.Errorf("the address table has %+v", r)
		}
	}
}

// Engines and ports that are closed leave no goroutine and no descriptor.
func TestEngineLeaks(t *testing.T) {
	run := func() {
		e, err := New(testConfig(2, &journal{}))
		if err != nil {
			t.Fatal(err)
		}
		a, b := plug(t, e, 1, nicOptions{pairs: 2, memory: 4 << 20}), plug(t, e, 2, nicOptions{memory: 4 << 20, features: ctrlFeatures})
		b.startCtrl()
		exchange(t, a, b, 60)
		a.remove()
		b.remove()
		e.Close()
		e.journal().clean(t)
	}
	run()
	goroutines, fds := runtime.NumGoroutine(), descriptors(t)
	for range fewer(30) {
		run()
	}
	settled(t, goroutines, fds)
}
