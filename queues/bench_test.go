package queues

import (
	"fmt"
	"testing"

	"vhost-user-nvgre/offload"
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

// coalesceScene readies 1,024 segments of a connection, of 1,448 bytes each, to
// a driver that takes super-frames, at a port with the given state.
func coalesceScene(tb testing.TB, e *Engine, st offload.State, partial bool) (*republisher, *txQueue, *shard) {
	const size = 1024
	from := plug(tb, e, 1, nicOptions{size: size, features: baseFeatures | virtio.FeatureCSUM})
	to := plug(tb, e, 2, nicOptions{size: size, features: takerFeatures})
	to.send(0, virtio.NetHdr{}, frame(from.mac, to.mac, 60)) // be learned
	from.recv(0)
	must(tb, to.port.SetOffloads(st))
	tx := from.tx(0)
	f := stream{partial: partial, flow: flow{dst: to.mac, src: from.mac, from: 1, to: 2, sport: 3, dport: 4}}
	for tx.Free() > 0 {
		image := f.image(tb, from, 1448)
		tx.Add(vringtest.Elem{Addr: from.mem.Write(image), Len: uint32(len(image))})
	}
	tx.SetInterrupts(false)
	to.rx(0).SetInterrupts(false)
	s, err := newShard(e, 9, -1, 0)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.poll.close)
	return &republisher{tx: tx, rx: to.rx(0), next: to.rx(0).AvailIndex()}, from.port.tx[0], s
}

// BenchmarkCoalesce measures a shard that forwards a sender's segments of 1,448
// bytes, 64 in a batch, to a receiver that would take super-frames.
func BenchmarkCoalesce(b *testing.B) {
	for _, partial := range []bool{true, false} {
		for _, on := range []bool{false, true} {
			name, st := "verified", offload.DefaultState()
			if partial {
				name = "partial"
			}
			if on {
				name, st = name+"/on", withCoalescing()
			} else {
				name += "/off"
			}
			b.Run(name, func(b *testing.B) {
				e := newStill(b, 1)
				r, q, s := coalesceScene(b, e, st, partial)
				to := r.rx
				first := to.UsedIndex()
				var sent uint16
				var buffers int
				b.SetBytes(1514)
				b.ReportAllocs()
				b.ResetTimer()
				for done := 0; done < b.N; {
					r.turn(batchSize, &sent)
					n := s.step(q)
					if n != batchSize {
						b.Fatalf("step took %d frames", n)
					}
					done += n
					buffers += int(to.UsedIndex() - first)
					first = to.UsedIndex()
				}
				b.StopTimer()
				rx := e.Status()[1].Queues[0]
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/1e6, "Mpps")
				b.ReportMetric(float64(rx.Packets)/float64(b.N), "frames/segment")
				if len(rx.Drops) > 0 || on && rx.Coalescing.CoalesceEvents == 0 {
					b.Fatalf("receiver has %+v", rx)
				}
			})
		}
	}
}
