package adapter

import (
	"vhost-user-nvgre/offload"
	"vhost-user-nvgre/offload/ndis"
)

// hash is what OID_GEN_RECEIVE_HASH set.
type hash struct {
	enabled  bool
	byDriver bool // the driver set it by a command of its own
	info     ndis.HashInformation
	key      [ndis.HashKeySize]byte
}

// hashTypes pairs the numbers of hash types in NDIS with those of the data
// path.
var hashTypes = []struct {
	ndis ndis.HashInformation
	path offload.HashTypes
}{
	{ndis.HashIPv4, offload.HashIPv4},
	{ndis.HashTCPIPv4, offload.HashTCPv4},
	{ndis.HashUDPIPv4, offload.HashUDPv4},
	{ndis.HashIPv6, offload.HashIPv6},
	{ndis.HashTCPIPv6, offload.HashTCPv6},
	{ndis.HashUDPIPv6, offload.HashUDPv6},
	{ndis.HashIPv6Ex, offload.HashIPv6Ex},
	{ndis.HashTCPIPv6Ex, offload.HashTCPv6Ex},
	{ndis.HashUDPIPv6Ex, offload.HashUDPv6Ex},
}

// typesOf returns the data path's hash types, and false if there are others.
func typesOf(info ndis.HashInformation) (types offload.HashTypes, known bool) {
	rest := info.Types()
	for _, t := range hashTypes {
		if info&t.ndis != 0 {
			types |= t.path
			rest &^= t.ndis
		}
	}
	return types, rest == 0
}

// checkHash checks a hash function and types that are to be used.
func (c *call) checkHash(info ndis.HashInformation) ndis.Status {
	const bad = ndis.StatusInvalidParameter
	switch _, known := typesOf(info); {
	case info.Function() != ndis.HashToeplitz:
		return c.fail(bad, "hash information %s, want the function %s", info, ndis.HashToeplitz)
	case info.Types() == 0:
		return c.fail(bad, "hash information %s without a hash type", info)
	case !known || info&^(info.Function()|info.Types()) != 0:
		return c.fail(bad, "hash information %s: not all of its bits are known", info)
	}
	return ndis.StatusSuccess
}

// takeKey checks a key and copies it.
func (c *call) takeKey(to *[ndis.HashKeySize]byte, key []byte) ndis.Status {
	if len(key) != ndis.HashKeySize {
		return c.fail(ndis.StatusInvalidParameter, "hash key of %d bytes, want %d", len(key), ndis.HashKeySize)
	}
	copy(to[:], key)
	return ndis.StatusSuccess
}

func queryHash(c *call) ndis.Status {
	h := &c.s.hash
	p := ndis.ReceiveHashParameters{HashInformation: h.info, Key: h.key[:]}
	if h.enabled {
		p.Flags = ndis.ReceiveHashEnable
	}
	return c.answer(p.Encode(), ndis.StatusInvalidLength)
}

// setHash has hashes reported without steering by them.
func setHash(c *call) ndis.Status {
	var p ndis.ReceiveHashParameters
	if st := c.decode(&p, ndis.StatusInvalidParameter); st != ndis.StatusSuccess {
		return st
	}
	c.SupportedRevision = 1
	const known = ndis.ReceiveHashEnable | ndis.ReceiveHashInfoUnchanged | ndis.ReceiveHashKeyUnchanged
	if p.Flags&^known != 0 {
		return c.fail(ndis.StatusInvalidParameter, "flags %s, want a subset of %s", p.Flags, known)
	}
	c.s.steeringEpoch++
	h := &c.s.hash
	if p.Flags&ndis.ReceiveHashEnable == 0 {
		*h = hash{}
		return ndis.StatusSuccess
	}
	if c.s.rss.enabled && !c.s.rss.byDriver || c.s.rssV2.enabled && !c.s.rssV2.byDriver {
		return c.fail(ndis.StatusInvalidOID, "RSS is enabled, which excludes receive hashing")
	}
	c.s.endRSS()
	if p.Flags&ndis.ReceiveHashInfoUnchanged == 0 {
		h.info = p.HashInformation
	}
	if p.Flags&ndis.ReceiveHashKeyUnchanged == 0 {
		if st := c.takeKey(&h.key, p.Key); st != ndis.StatusSuccess {
			return st
		}
	}
	h.enabled, h.byDriver = true, false
	return c.checkHash(h.info)
}

// endHash makes way for RSS, which receive hashing excludes: what a protocol
// driver set stays until it ends it, but what the NIC's driver set gives way to
// who comes later.
func (c *call) endHash() ndis.Status {
	if c.s.hash.enabled && !c.s.hash.byDriver {
		return c.fail(ndis.StatusInvalidOID, "receive hashing is enabled, which excludes RSS")
	}
	c.s.hash = hash{}
	return ndis.StatusSuccess
}
