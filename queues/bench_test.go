package queues

import (
	"fmt"
	"testing"

	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/vringtest"
)

// republisher prepares a pair of rings once and then only moves their
// available indices, so that the device's work is all there is to measure.
type republisher struct {
	tx, rx *ring
	next   uint16
}

func newRepublisher(b *testing.B, from, to *nic, size int) *republisher {
	tx := from.tx(0)
	image := make([]byte, from.hdr)
	(&virtio.NetHdr{}).Encode(image)
	image = append(image, frame(to.mac, from.mac, size)...)
	for tx.Free() > 0 {
		tx.Add(vringtest.Elem{Addr: from.mem.Write(image), Len: uint32(len(image))})
	}
	tx.SetInterrupts(false)
	to.rx(0).SetInterrupts(false)
	return &republisher{tx: tx, rx: to.rx(0), next: to.rx(0).AvailIndex()}
}

// turn makes n frames and the buffers for them available.
func (r *republisher) turn(n uint16, sent *uint16) {
	*sent += n
	r.tx.SetAvailIndex(*sent)
	r.rx.SetAvailIndex(r.rx.UsedIndex() + r.next)
}

// BenchmarkForward measures a shard alone: one frame from port to port.
func BenchmarkForward(b *testing.B) {
	for _, size := range []int{72, 1502} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			e := newEngine(b, 1)
			from, to := plug(b, e, 1, nicOptions{size: 1024}), plug(b, e, 2, nicOptions{size: 1024})
			to.send(0, virtio.NetHdr{}, frame(from.mac, to.mac, 60)) // be learned
			from.recv(0)
			r := newRepublisher(b, from, to, size)
			s, err := newShard(e, 9, -1, 0)
			if err != nil {
				b.Fatal(err)
			}
			defer s.poll.close()
			q := from.port.tx[0]
			var sent uint16
			b.SetBytes(int64(size))
			b.ReportAllocs()
			b.ResetTimer()
			for done := 0; done < b.N; {
				r.turn(batchSize, &sent)
				n := s.step(q)
				if n != batchSize {
					b.Fatalf("step took %d frames", n)
				}
				done += n
			}
			b.StopTimer()
			if st := to.port.rx[0].status("rx", 0); int(st.Packets) < b.N || len(st.Drops) > 0 {
				b.Fatalf("%d frames sent, receiver has %+v", b.N, st)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/1e6, "Mpps")
		})
	}
}
