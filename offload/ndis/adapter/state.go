package adapter

import (
	"maps"
	"slices"

	"vhost-user-nvgre/offload/ndis"
)

// Indices of what there is for each IP version.
const (
	v4 = 0
	v6 = 1
)

// pair is a checksum's two directions.
type pair struct{ tx, rx bool }

// configured says what is turned on, of what the hardware can.
type configured struct {
	ipv4     pair
	tcp, udp [2]pair
	lso, uso [2]bool
	rsc      [2]bool
	uro      bool
	tunnel   bool
}

// framing is what OID_OFFLOAD_ENCAPSULATION said of an IP version.
type framing uint8

const (
	framingUnset framing = iota
	framingOn
	framingOff
	// framingTunnels was not said by it. It is that of an administrator who
	// wants the offloads of NVGRE packets and did not speak of others: receive
	// checksums are validated of those packets alone.
	framingTunnels
)

// state is everything that OIDs change. Handlers change a copy.
type state struct {
	conf    configured
	framing [2]framing
	// framingSet is what is answered to a query of OID_OFFLOAD_ENCAPSULATION,
	// nil before the first set.
	framingSet *ndis.OffloadEncapsulation
	encap      ndis.EncapsulationTypes // active

	driver DriverState

	rss   rss
	rssV2 rssV2
	hash  hash

	queues  map[uint32]queue // by id, the default queue included
	filters map[uint32]filter
	// Where these are the same as in another state, what was compiled of them
	// is.
	steeringEpoch, filterEpoch uint64
}

func (s *state) clone() *state {
	c := *s
	c.rss.table = slices.Clone(s.rss.table)
	c.rssV2.entries = slices.Clone(s.rssV2.entries)
	c.queues, c.filters = maps.Clone(s.queues), maps.Clone(s.filters)
	return &c
}

// initial returns the state after start with the given keywords.
func (a *Adapter) initial(k Keywords) *state {
	s := &state{
		conf:    k.configuredBy(&a.cfg.Start),
		rssV2:   a.initialRSSV2(),
		queues:  map[uint32]queue{defaultQueue: {state: queueRunning}},
		filters: map[uint32]filter{},
	}
	s.frame(&a.cfg.Start, v4)
	s.frame(&a.cfg.Start, v6)
	if a.cfg.Start.NVGRE {
		s.encap, s.conf.tunnel = ndis.EncapsulationGREMAC, true
	}
	s.conf.rsc = [2]bool{a.cfg.Start.RSC, a.cfg.Start.RSC}
	s.conf.uro = a.cfg.Start.URO
	return s
}

// ethernetHeader is the size of an Ethernet header in bytes.
const ethernetHeader = 14
