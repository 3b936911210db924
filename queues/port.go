package queues

import (
	"fmt"
	"sync"

	"vhost-user-nvgre/offload"
	"vhost-user-nvgre/offload/toeplitz"
	"vhost-user-nvgre/queues/fdb"
	"vhost-user-nvgre/queues/rxfilter"
	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/ctrl"
	"vhost-user-nvgre/virtio/eventfd"
)

// offered are the features of a port unless its configuration withholds some.
const offered = virtio.FeatureCSUM | virtio.FeatureGuestCSUM |
	virtio.FeatureHostTSO4 | virtio.FeatureHostTSO6 | virtio.FeatureHostECN | virtio.FeatureHostUSO |
	virtio.FeatureGuestTSO4 | virtio.FeatureGuestTSO6 | virtio.FeatureGuestECN |
	virtio.FeatureGuestUSO4 | virtio.FeatureGuestUSO6 |
	virtio.FeatureMrgRxbuf | virtio.FeatureMAC | virtio.FeatureStatus | virtio.FeatureSpeedDuplex |
	virtio.FeatureCtrlVQ | virtio.FeatureCtrlRX | virtio.FeatureCtrlRXExtra | virtio.FeatureCtrlVLAN |
	virtio.FeatureCtrlMACAddr | virtio.FeatureGuestAnnounce | virtio.FeatureCtrlGuestOffload |
	virtio.FeatureHashReport | virtio.FeatureHashTunnel | virtio.FeatureNotfCoal | virtio.FeatureVQNotfCoal | virtio.FeatureDeviceStats |
	virtio.FeatureIndirectDesc | virtio.FeatureEventIdx | virtio.FeatureVersion1 | virtio.FeatureAnyLayout

// MaxPairs bounds the queue pairs of a port.
const MaxPairs = 64

// PortConfig describes a port.
type PortConfig struct {
	Name       string
	QueuePairs int        // 1 to MaxPairs
	MAC        virtio.MAC // unicast, not zero
	MTU        int        // 0: not told to the driver, else virtio.MinMTU to virtio.MaxMTU
	Speed      uint32     // Mbit/s as told to the driver; it limits nothing
	Withhold   virtio.Features
	Keeper     Keeper // nil: nobody keeps state for the port
	// AskFilter, if there is one, is called in a goroutine of its own when the
	// receive filter that a front end keeps (SetFilter) may have become another
	// one of which it says nothing: it came, or its driver began anew or resumed.
	AskFilter func()
}

func (c *PortConfig) check() error {
	switch {
	case c.Name == "":
		return fmt.Errorf("a port needs a name")
	case c.QueuePairs < 1 || c.QueuePairs > MaxPairs:
		return fmt.Errorf("port %s: %d queue pairs, want 1 to %d", c.Name, c.QueuePairs, MaxPairs)
	case c.MAC.IsMulticast() || c.MAC == virtio.MAC{}:
		return fmt.Errorf("port %s: %s is no address of a single station", c.Name, c.MAC)
	case c.MTU != 0 && (c.MTU < virtio.MinMTU || c.MTU > virtio.MaxMTU):
		return fmt.Errorf("port %s: MTU %d, want %d to %d", c.Name, c.MTU, virtio.MinMTU, virtio.MaxMTU)
	}
	return nil
}

// features returns what the port offers.
func (c *PortConfig) features() virtio.Features {
	f := offered
	if c.QueuePairs > 1 {
		f |= virtio.FeatureMQ | virtio.FeatureRSS
	}
	if c.MTU != 0 {
		f |= virtio.FeatureMTU
	}
	return (f &^ c.Withhold).Strip()
}

// Port is one NIC: a vhost-user back end's device on one side, a port of the
// switch on the other. Its exported methods may be called by any goroutine.
type Port struct {
	switchPort
	cfg  PortConfig
	ctrl ctrlQueue

	following, asking errand // the Keeper's Follow, PortConfig.AskFilter

	// mu serialises everything that changes the port.
	mu         sync.Mutex
	frontend   interface{ ConfigChanged() } // nil: none attached
	features   virtio.Features
	slots      []slot // by virtqueue index
	status     uint8
	net        virtio.NetConfig
	linkUp     bool // as the operator wants it
	needsReset bool
	restarts   uint64 // times that guest was forgotten
	guest      guestState
	now        setting
	initial    setting // what now becomes when the driver begins anew
}

// slot is what a front end said of a virtqueue, in whatever role the index
// turns out to be used.
type slot struct {
	kick, call, err  *eventfd.FD
	enabled, started bool
}

// guestState is what the driver alone configures, over the control queue.
type guestState struct {
	pairs  int
	filter *rxfilter.Filter
	// filterSet: filter came by SetFilter.
	filterSet bool

	off virtio.Features // receive offloads that are switched off

	coalRX, coalTX ctrl.CoalParams // of queues that start

	innerHash bool // NVGRE is hashed by the inner headers, by HASH_TUNNEL
}

// newPort is called with Engine.mu held.
func newPort(e *Engine, id fdb.Port, cfg PortConfig) *Port {
	p := &Port{cfg: cfg, linkUp: true, slots: make([]slot, 2*cfg.QueuePairs+1)}
	p.initial.Offloads = offload.DefaultState()
	p.init(e, id, cfg.Name, cfg.QueuePairs)
	p.broke = p.queueBroke
	p.ctrl.nic, p.other = p, []*virtqueue{&p.ctrl.virtqueue}
	p.ctrl.port, p.ctrl.index = &p.switchPort, -1
	p.net = virtio.NetConfig{
		QueuePairs: uint16(cfg.QueuePairs), MTU: uint16(cfg.MTU),
		Speed: cfg.Speed, Duplex: virtio.DuplexFull,
	}
	if f := cfg.features(); f&(virtio.FeatureRSS|virtio.FeatureHashReport) != 0 {
		p.net.RSSMaxKeySize, p.net.HashTypes = toeplitz.KeySize, uint32(offload.AllHashTypes)
		if f.Has(virtio.FeatureRSS) {
			p.net.RSSMaxTableLen = virtio.RSSTableSize
		}
		if f.Has(virtio.FeatureHashTunnel) {
			p.net.TunnelTypes = ctrl.TunnelNVGRE
		}
	}
	p.forget()
	p.compile()
	return p
}

// forget returns what the driver configured to its initial state (VNET-005).
// The caller holds mu.
func (p *Port) forget() {
	p.net.MAC = p.cfg.MAC
	p.net.Status = 0
	if p.linkUp {
		p.net.Status = virtio.StatusLinkUp
	}
	p.now = p.initial
	p.guest = guestState{pairs: 1, filter: rxfilter.New(p.cfg.MAC, p.settable())}
	p.forgetCoalescing()
	p.restarts++
	p.driverChanged()
	p.askFilter()
}

// settable returns the negotiated features, less those for filters that the
// driver cannot set: DPDK's virtio-user acknowledges them without the control
// queue that they need. The caller holds mu.
func (p *Port) settable() virtio.Features {
	if p.features.Has(virtio.FeatureCtrlVQ) {
		return p.features
	}
	return p.features &^ (virtio.FeatureCtrlRX | virtio.FeatureCtrlVLAN)
}

// compile publishes a new snapshot of the port's state and returns when no
// shard uses the old one. The caller holds mu.
func (p *Port) compile() {
	f := p.features
	st := &portState{
		port:      &p.switchPort,
		linkUp:    p.linkUp,
		hdrLen:    virtio.NetHdrLen(f),
		mergeable: f.Has(virtio.FeatureMrgRxbuf),
		pairs:     p.cfg.QueuePairs,
		sender:    offload.SenderOf(f, &p.now.Offloads),
		receiver:  offload.ReceiverOf(f&^p.guest.off, &p.now.Offloads),
		filter:    p.guest.filter,
		maxFrame:  offload.MaxFrame,
	}
	if f.Has(virtio.FeatureMTU) {
		st.maxFrame = p.cfg.MTU + 14
	}
	if h := p.now.reported(); h != nil && f.Has(virtio.FeatureHashReport) {
		st.receiver.Hash = p.hasher(h)
	}
	// With the control queue in our hands the driver says how many pairs it
	// uses; otherwise the front end does, by enabling rings.
	if f.Has(virtio.FeatureCtrlVQ) {
		st.pairs = p.guest.pairs
	}
	p.steer(st)
	p.filterBy(st)
	p.state.Store(st)
	p.engine.quiesce()
}

// ctrlIndex returns the index of the control queue, or -1 when there is none
// or the front end keeps it to itself. The caller holds mu.
func (p *Port) ctrlIndex() int { return p.ctrlIndexWith(p.features) }

func (p *Port) ctrlIndexWith(f virtio.Features) int {
	switch {
	case !f.Has(virtio.FeatureCtrlVQ):
		return -1
	case f&(virtio.FeatureMQ|virtio.FeatureRSS) != 0:
		return 2 * p.cfg.QueuePairs
	default:
		return 2
	}
}

// queue returns the virtqueue behind an index. The caller holds mu.
func (p *Port) queue(i int) *virtqueue {
	switch {
	case i == p.ctrlIndex() || i == 2*p.cfg.QueuePairs:
		return &p.ctrl.virtqueue
	case i%2 == 0:
		return &p.rx[i/2].virtqueue
	default:
		return &p.tx[i/2].virtqueue
	}
}

// SetLink sets the link up or down; the driver is told.
func (p *Port) SetLink(up bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.linkUp == up {
		return
	}
	p.linkUp = up
	p.net.Status &^= virtio.StatusLinkUp
	if up {
		p.net.Status |= virtio.StatusLinkUp
	} else {
		p.engine.fdb.Flush(p.id)
	}
	p.compile()
	p.configChanged()
	p.engine.logLink(p.name, up)
}

// Announce asks the driver to announce its addresses to the network. It does
// nothing when the driver cannot (VNET-132).
func (p *Port) Announce() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.features.Has(virtio.FeatureGuestAnnounce | virtio.FeatureCtrlVQ) {
		p.net.Status |= virtio.StatusAnnounce
		p.configChanged()
	}
}

// configChanged tells the driver to read the configuration space again. The
// caller holds mu.
func (p *Port) configChanged() {
	if p.frontend != nil {
		p.frontend.ConfigChanged()
	}
}

// queueBroke is the slow half of virtqueue.fail: the device wants a reset
// (VNET-006), and no frame is to go to the queue any more.
func (p *Port) queueBroke(v *virtqueue, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	v.mu.Lock()
	index, stopped := v.index, v.ring == nil || v.broken != err
	v.mu.Unlock()
	p.engine.log.Warnf("port %s queue %d: stopped: %v", p.name, index, err)
	if stopped {
		return // by the front end meanwhile, which may be another one by now
	}
	p.needsReset = true
	p.compile()
	p.configChanged()
}
