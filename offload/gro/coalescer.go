package gro

import (
	"bytes"
	"fmt"

	"vhost-user-nvgre/offload/packet"
	"vhost-user-nvgre/virtio"
)

// MaxFrames is the most frames that a Coalescer can be made for.
const MaxFrames = 1 << 14

// Coalescer puts the frames of one batch for one receive queue together:
//
//	c.Begin(&config, &stats)
//	for … { c.Add(frame) }
//	for {
//		s, ok := c.Next(sink)
//		if !ok {
//			break
//		}
//		// deliver frame number s.Frame alone
//	}
//
// Units and single frames leave in the order of their first frames; frames of
// one flow keep their order. Nothing is left in it when Next says so, and
// Begin forgets what an interrupted delivery left.
//
// A Coalescer is the state that one shard reuses; it does not allocate. It is
// not for concurrent use. It refers to frames until the next Begin.
type Coalescer struct {
	cfg   Config
	on    [numKinds]bool
	stats *Stats

	frames []Frame
	segs   []segment // of frames
	items  []item    // in order of delivery
	table  flowTable
	// closed: units before that item are finished, whatever their flow.
	closed int32

	// Delivery.
	item  int // next in items
	cur   int // next frame of the item before, -1 when it is done
	alone bool
	whole bool // nothing of the item was delivered yet
	bad   int  // the frame found bad last, -1 if none
	unit  Unit
	hdr   virtio.NetHdr
	// template is the header stack of the unit being delivered: Ethernet with
	// tags, IPv6 and TCP, each as long as it can be.
	template [ethSize + 4*packet.MaxTags + ipv6Size + 60]byte
}

// item is a chain of frames that are delivered as one, or one frame.
type item struct {
	first, last uint16
	frames      uint16
	payload     uint32 // of a unit
}

// New returns a coalescer for batches of at most the given number of frames,
// itself at most MaxFrames.
func New(frames int) *Coalescer {
	if frames < 1 || frames > MaxFrames {
		panic(fmt.Sprintf("gro: batches of %d frames, want 1 to %d", frames, MaxFrames))
	}
	return &Coalescer{
		frames: make([]Frame, 0, frames),
		segs:   make([]segment, frames),
		items:  make([]item, 0, frames),
		table:  newFlowTable(frames),
		cur:    -1,
	}
}

// Begin starts a batch. stats are those of the receiver, to which is added
// until the next Begin; cfg is copied.
func (c *Coalescer) Begin(cfg *Config, stats *Stats) {
	c.cfg, c.stats = *cfg, stats
	c.on = [numKinds]bool{TCPv4: cfg.RSC4, TCPv6: cfg.RSC6, UDPv4: cfg.URO4, UDPv6: cfg.URO6}
	c.frames, c.items = c.frames[:0], c.items[:0]
	c.table.reset()
	c.closed = 0
	c.item, c.cur, c.bad = 0, -1, -1
	c.unit = Unit{}
}

// Add takes the next frame. The first is number 0. It reports false, and takes
// nothing, if there are as many as the coalescer was made for.
func (c *Coalescer) Add(f Frame) bool {
	i := len(c.frames)
	if i == cap(c.frames) {
		return false
	}
	c.frames = c.frames[:i+1]
	c.frames[i] = f
	c.segs[i].next = 0
	c.place(i, &c.frames[i])
	return true
}

// place finds frame i its unit.
func (c *Coalescer) place(i int, f *Frame) {
	l := &f.Info.Outer
	if !l.HasPorts() {
		c.portless(l)
		c.append(i)
		return
	}
	kind := kindOf(l)
	if !c.on[kind] || c.cfg.VXLANPort != 0 && c.isVXLAN(kind, l, f.Head) {
		c.append(i)
		return
	}
	if l.HomeAddr|l.FinalDst != 0 {
		// The ends of the flow are not those in the IP header, so which flow
		// it is would take more than it is worth.
		c.count(kind, exceptional)
		c.closed = int32(len(c.items))
		c.append(i)
		return
	}
	var (
		key flowKey
		fix fixed
		ecn uint16
	)
	key.set(l, f.Head, kind)
	fl := c.table.find(&key)
	s := &c.segs[i]
	if cl := s.read(f, kind, &fix, &ecn); cl != mergeable {
		c.count(kind, cl)
		if fl != nil {
			fl.item = -1
		}
		c.append(i)
		return
	}
	if fl == nil {
		fl = c.table.add(&key)
	} else if fl.item >= c.closed {
		if ecn != fl.ecn {
			c.count(kind, exceptional) // exception 8
		} else if fix == fl.fix && fl.unit.takes(s, kind.tcp(), limit(l)) && c.sameTags(fl, &fix, f.Head) {
			fl.unit.add(s)
			it := &c.items[fl.item]
			c.segs[it.last].next = uint16(i)
			it.last = uint16(i)
			it.frames++
			it.payload = fl.unit.payload
			return
		}
	}
	fl.fix, fl.ecn, fl.item = fix, ecn, int32(len(c.items))
	fl.unit.start(s)
	c.append(i)
}

// limit returns the most payload of a unit with a frame's headers.
func limit(l *packet.Level) uint32 { return maxDatagram - uint32(l.Payload-l.L3) }

// append makes frame i an item of its own, to which others may be added.
func (c *Coalescer) append(i int) {
	c.items = append(c.items, item{first: uint16(i), last: uint16(i), frames: 1})
}

// kindOf returns what a packet could be a unit of.
func kindOf(l *packet.Level) Kind {
	switch {
	case l.Protocol == protoTCP && l.Net == packet.IPv4:
		return TCPv4
	case l.Protocol == protoTCP:
		return TCPv6
	case l.Protocol == protoUDP && l.Net == packet.IPv4:
		return UDPv4
	case l.Protocol == protoUDP:
		return UDPv6
	}
	return NoKind
}

func (c *Coalescer) isVXLAN(kind Kind, l *packet.Level, b []byte) bool {
	p := l.Ports(b)
	return !kind.tcp() && uint16(p[2])<<8|uint16(p[3]) == c.cfg.VXLANPort
}

// sameTags reports whether a frame has the tags of the flow's unit. Their
// number is the same.
func (c *Coalescer) sameTags(fl *flow, fix *fixed, head []byte) bool {
	if fix.l3 == ethSize {
		return true
	}
	first := c.frames[c.items[fl.item].first].Head
	return bytes.Equal(first[ethType:fix.l3], head[ethType:fix.l3])
}

// portless handles a frame without ports. If it may be part of a flow it ends
// all units, because it cannot be told which flow that is: a fragment, or one
// whose headers are not whole.
func (c *Coalescer) portless(l *packet.Level) {
	kind := kindOf(l)
	if l.Net == packet.NoNet || kind == NoKind && l.Verdict == packet.OK || kind != NoKind && !c.on[kind] {
		return
	}
	c.closed = int32(len(c.items))
	if l.Flags&packet.Fragment != 0 {
		c.count(kind, exceptional)
	}
}

// count counts what keeps a frame from being coalesced.
func (c *Coalescer) count(kind Kind, cl class) {
	if cl == exceptional && kind.tcp() && c.on[kind] {
		c.stats.Aborts++
	}
}

// Unit returns what there is to know of the frame that is being committed, in
// Sink.Commit, or that was committed last.
func (c *Coalescer) Unit() *Unit { return &c.unit }

// Dst returns the Ethernet destination of the frame that is being committed, in
// Sink.Commit.
func (c *Coalescer) Dst() [6]byte { return [6]byte(c.template[:6]) }
