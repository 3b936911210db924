package queues

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"testing"

	"vhost-user-nvgre/queues/fdb"
	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/vring"
)

// FuzzParking has a port send to others that have room only now and then, whose
// links go down, whose memory vanishes and which are taken away while frames
// wait for them, and whose own ring stops. Whatever happens, every frame arrives
// once and in its turn or is counted as dropped once, and every buffer comes
// back once and in its turn.
//
// Shows: VNET-053
func FuzzParking(f *testing.F) {
	r := rand.New(rand.NewPCG(3, 4))
	for range fewer(150) {
		b := make([]byte, 1000)
		for k := range b {
			b[k] = byte(r.Uint32())
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
		s := script(input[:min(len(input), 1000)])
		m := newParkingModel(t, s.byte()&1 == 0)
		for len(s) > 0 {
			m.act(&s)
			settle(m.e)
			m.check()
		}
		m.end()
	})
}

// parkingModel is what must hold of a sender and its receivers.
type parkingModel struct {
	t      *testing.T
	e      *Engine
	small  nicOptions
	from   *nic
	to     []*nic  // nil: taken away
	gone   []bool  // its memory vanished
	ports  []*Port // that ever were
	posted []uint16
	last   []int  // number of the frame that arrived last, by receiver
	number int    // of the frame sent last
	copies uint64 // that are to arrive or to be counted as dropped
	here   uint64 // that arrived
	did    []string

	stopped bool // the sender's ring
	base    uint32
	dead    bool // the sender's memory vanished
}

func newParkingModel(t *testing.T, coalescing bool) *parkingModel {
	m := &parkingModel{
		t: t, e: newStill(t, 1), to: make([]*nic, 3), gone: make([]bool, 3), last: make([]int, 3),
		small: nicOptions{size: 16, rxBuf: noBuffers, memory: arenaSize + 256<<10},
	}
	if coalescing {
		m.small.features = takerFeatures
	}
	m.from = m.plug(0)
	for i := range m.to {
		m.to[i] = m.plug(i + 1)
	}
	return m
}

func (m *parkingModel) plug(id int) *nic {
	n := plug(m.t, m.e, id+1, m.small)
	must(m.t, n.port.SetOffloads(withCoalescing()))
	m.ports = append(m.ports, n.port)
	return n
}

// learn has the switch know where most of the receivers are.
func (m *parkingModel) learn(s *script) {
	for _, n := range m.to {
		if n != nil && s.pick(8) > 0 {
			var mac [8]byte
			copy(mac[:], n.mac[:])
			m.e.fdb.Learn(fdb.Key(binary.BigEndian.Uint64(mac[:])), n.port.id, m.e.second())
		}
	}
}

func (m *parkingModel) act(s *script) {
	i := s.pick(len(m.to))
	n := m.to[i]
	alive := n != nil && !m.gone[i]
	op := s.pick(24)
	m.did = append(m.did, fmt.Sprintf("%d at %d", op, i))
	switch {
	case op < 6:
		m.send(s, 1+s.pick(6), nil)
	case !alive || op == 6 && s.pick(4) == 0:
		m.replace(i)
	case op < 14:
		for range 1 + s.pick(3) {
			if n.rx(0).Free() > 0 {
				n.rx(0).room(512)
			}
		}
	case op < 16:
		n.port.SetLink(s.pick(3) > 0)
	case op == 16 && s.pick(2) == 0:
		m.gone[i] = true
		m.send(s, 1+s.pick(9), n)
	case op == 17:
		n.port.SetQueueEnabled(0, s.pick(3) > 0)
	case op == 18:
		n.resume(0, n.port.StopQueue(0))
	case op == 19:
		m.e.start = m.e.start.Add(-parkLimit * 2 / 3)
	case op == 20 && (m.dead || s.pick(4) == 0):
		m.replaceSender(s)
	case op == 21:
		m.from.port.SetLink(s.pick(6) > 0)
	case op == 22 && !m.dead && m.stopped:
		m.from.resume(1, m.base)
		m.stopped = false
	case op == 22 && !m.dead && s.pick(4) == 0:
		m.base = m.from.port.StopQueue(1)
		m.stopped = true
		if m.from.tx(0).UsedIndex() != m.from.tx(0).AvailIndex() {
			m.fatalf("a stopped ring has not returned all buffers")
		}
	}
}

// send makes some frames available at once. The memory of victim, if there is
// one, vanishes before they are delivered.
func (m *parkingModel) send(s *script, frames int, victim *nic) {
	if victim != nil {
		defer victim.truncate(0)
	}
	if m.stopped || m.dead {
		return
	}
	m.learn(s)
	r := m.from.tx(0)
	for range frames {
		if r.Free() == 0 {
			break
		}
		m.number++
		dst := broadcast
		if k := s.pick(8); k > 0 {
			dst = macOf(2 + k%3)
		}
		b := frame(dst, m.from.mac, 300)
		b[14], b[15] = byte(m.number>>8), byte(m.number)
		image := m.from.image(virtio.NetHdr{}, b)
		head, _ := r.Add(elem(m.from.place(image), len(image)))
		m.posted = append(m.posted, head)
		m.copies += m.copiesOf(dst)
	}
	r.Publish()
	r.kick.Signal()
}

// copiesOf returns for how many ports a frame is.
func (m *parkingModel) copiesOf(dst virtio.MAC) (n uint64) {
	if !m.from.port.Snapshot().LinkUp {
		return 1 // the frame itself is counted
	}
	if dst != broadcast {
		for _, r := range m.e.MACTable() {
			if r.MAC == dst {
				return 1
			}
		}
	}
	for _, n2 := range m.to {
		if n2 != nil {
			n++
		}
	}
	return n
}

// replace takes a receiver away, or puts another one in its place.
func (m *parkingModel) replace(i int) {
	if m.to[i] == nil {
		m.to[i], m.gone[i] = m.plug(i+1), false
		return
	}
	if !m.gone[i] {
		m.drain(i)
	}
	m.to[i].remove()
	m.to[i] = nil
}

// replaceSender has another driver on another port take the sender's place,
// whose memory may vanish before.
func (m *parkingModel) replaceSender(s *script) {
	switch {
	case !m.dead && !m.stopped && s.pick(2) == 0:
		m.from.truncate(0)
		m.dead = true
		return
	case !m.dead && !m.stopped:
		m.from.port.StopQueue(1)
		m.reap()
	}
	if len(m.posted) > 0 && !m.dead {
		m.fatalf("%d buffers did not come back from a sender that goes", len(m.posted))
	}
	m.from.remove()
	m.from, m.posted, m.stopped, m.dead = m.plug(0), nil, false, false
}

// drain takes what arrived at a receiver.
func (m *parkingModel) drain(i int) {
	for {
		f, ok := m.to[i].poll(0)
		if !ok {
			return
		}
		m.here++
		if !m.to[i].port.Snapshot().LinkUp {
			m.fatalf("receiver %d got a frame although its link is down", i)
		}
		if got := numberOf(f); got <= m.last[i] {
			m.fatalf("receiver %d got frame %d after %d", i, got, m.last[i])
		} else {
			m.last[i] = got
		}
	}
}

// reap takes back buffers.
func (m *parkingModel) reap() {
	for {
		id, size, ok := m.from.tx(0).Pop()
		if !ok {
			return
		}
		if len(m.posted) == 0 || size != 0 || id != uint32(m.posted[0]) {
			m.fatalf("buffer %d came back with %d bytes; outstanding are %v", id, size, m.posted)
		}
		m.posted = m.posted[1:]
	}
}

// check looks at everything when the shard has nothing to do.
func (m *parkingModel) check() {
	m.t.Helper()
	for i, n := range m.to {
		if n != nil && !m.gone[i] {
			m.drain(i)
		}
	}
	waiting := uint64(0)
	for _, p := range m.ports {
		waiting += uint64(m.invariants(p.tx[0]))
	}
	if !m.dead {
		m.reap()
		if held := len(m.from.port.tx[0].held); len(m.posted) != held {
			m.fatalf("%d buffers are outstanding, %d held", len(m.posted), held)
		}
	}
	if n := m.dropped(); m.here+n+waiting != m.copies {
		m.fatalf("%d frames arrived, %d were dropped and %d wait; want %d in all", m.here, n, waiting, m.copies)
	}
}

// invariants checks what parking relies on and returns how many frames wait.
func (m *parkingModel) invariants(q *txQueue) (waiting int) {
	p := &q.parking
	kept := func(u vring.Used) bool { return u.Len == keepsBuffer }
	keeps := 0
	for _, u := range p.held {
		if kept(u) {
			keeps++
		}
	}
	if keeps != len(p.frames) || len(q.used) != 0 || len(p.held) > q.size()/2 || len(p.held) > 0 && !kept(p.held[0]) {
		m.fatalf("%d frames wait, %d of %d held buffers are kept: %v; %d to return", len(p.frames), keeps, len(p.held), p.held, len(q.used))
	}
	for i := range p.frames {
		w := &p.frames[i]
		if at := int(w.seq - (p.next - uint32(len(p.held)))); at >= len(p.held) || !kept(p.held[at]) {
			m.fatalf("frame %d of those that wait has buffer %d of %v", i, at, p.held)
		}
		if !w.done {
			waiting++
		}
	}
	return waiting
}

// size returns the ring's, or that of one that can hold nothing.
func (q *txQueue) size() int {
	if q.ring == nil {
		return 0
	}
	return q.ring.Size()
}

// dropped returns how many frames were dropped at all ports there ever were.
func (m *parkingModel) dropped() (sum uint64) {
	for _, p := range m.ports {
		for _, q := range []*virtqueue{&p.rx[0].virtqueue, &p.tx[0].virtqueue} {
			q.mu.Lock()
			for _, n := range q.count.drops {
				sum += n
			}
			q.mu.Unlock()
		}
	}
	return sum
}

// end gives room to all, and wants everything back.
func (m *parkingModel) end() {
	m.did = append(m.did, "end")
	if m.dead || m.stopped {
		return
	}
	for range 3 {
		m.e.start = m.e.start.Add(-2 * parkLimit)
		settle(m.e)
	}
	m.check()
	if len(m.posted) > 0 {
		m.fatalf("%d buffers did not come back", len(m.posted))
	}
}

func (m *parkingModel) fatalf(format string, args ...any) {
	m.t.Helper()
	var drops []string
	for _, p := range m.ports {
		drops = append(drops, fmt.Sprint(p.name, p.rx[0].count.drops.byName(), p.tx[0].count.drops.byName()))
	}
	m.t.Fatalf("%s\nafter %v\ndrops %v", fmt.Sprintf(format, args...), m.did[max(0, len(m.did)-12):], slices.Clip(drops))
}
