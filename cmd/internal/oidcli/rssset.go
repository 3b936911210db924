package oidcli

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"vhost-user-nvgre/cmd/internal/oid"
	"vhost-user-nvgre/offload/ndis"
	"vhost-user-nvgre/offload/toeplitz"
)

// SetRSSHelp describes the command that sets RSS.
const SetRSSHelp = `Set receive side scaling as a protocol driver does, or turn it off. It replaces
what the guest's driver has set, and holds until that sets it again or starts
anew. What is not named stays as it is; where RSS was off, that is the usual
key, all hash types but those with -ex, and all queues in turn.

  key=HEX      hash key of 40 bytes, with or without colons; or key=default
  types=LIST   packets to hash: ipv4, tcp-ipv4, udp-ipv4, ipv6, tcp-ipv6,
               udp-ipv6, ipv6-ex, tcp-ipv6-ex, udp-ipv6-ex; or all
  table=LIST   queue of each entry of the indirection table, such as 0,1,2,3;
               their number is a power of two
  queues=N     instead of table: the first N queues in turn
  default=N    queue of packets without a hash`

// Words of SetRSS.
const (
	rssOff     = "off"
	rssKey     = "key"
	rssTypes   = "types"
	rssTable   = "table"
	rssQueues  = "queues"
	rssDefault = "default"
)

// hashTypes are the types of packets that can be hashed, by the names that
// people write.
var hashTypes = map[string]ndis.HashInformation{
	"ipv4": ndis.HashIPv4, "tcp-ipv4": ndis.HashTCPIPv4, "udp-ipv4": ndis.HashUDPIPv4,
	"ipv6": ndis.HashIPv6, "tcp-ipv6": ndis.HashTCPIPv6, "udp-ipv6": ndis.HashUDPIPv6,
	"ipv6-ex": ndis.HashIPv6Ex, "tcp-ipv6-ex": ndis.HashTCPIPv6Ex, "udp-ipv6-ex": ndis.HashUDPIPv6Ex,
}

const (
	plainTypes = ndis.HashIPv4 | ndis.HashTCPIPv4 | ndis.HashUDPIPv4 | ndis.HashIPv6 | ndis.HashTCPIPv6 | ndis.HashUDPIPv6
	exTypes    = ndis.HashIPv6Ex | ndis.HashTCPIPv6Ex | ndis.HashUDPIPv6Ex
)

// RSSWords returns how words of SetRSS can begin or go on, for a shell to
// complete what was begun.
func RSSWords(begun string) []string {
	if list, ok := strings.CutPrefix(begun, rssTypes+"="); ok {
		done := rssTypes + "=" + list[:strings.LastIndex(list, ",")+1]
		words := []string{rssTypes + "=all"}
		for _, name := range slices.Sorted(maps.Keys(hashTypes)) {
			words = append(words, done+name)
		}
		return words
	}
	return []string{rssOff, rssKey + "=", rssKey + "=default", rssTypes + "=", rssTable + "=", rssQueues + "=", rssDefault + "="}
}

// SetRSS acts as a protocol driver: words are those that SetRSSHelp names, or
// "off" alone.
func SetRSS(ctx context.Context, c *oid.Client, binding uint32, words []string) error {
	if slices.Contains(words, rssOff) {
		if len(words) > 1 {
			return fmt.Errorf("off goes with nothing else; want off alone, or %s", strings.Join(RSSWords("")[1:], ", "))
		}
		return disableRSS(ctx, c, binding)
	}
	var caps ndis.ReceiveScaleCapabilities
	if err := c.Query(ctx, ndis.OIDReceiveScaleCapabilities, &caps); err != nil {
		return err
	}
	p := ndis.ReceiveScaleParameters{
		Revision: 3,
		Flags:    ndis.RSSHashInfoUnchanged | ndis.RSSHashKeyUnchanged | ndis.RSSTableUnchanged | ndis.RSSDefaultProcessorUnchanged,
	}
	seen := map[string]bool{}
	for _, word := range words {
		name, value, ok := strings.Cut(word, "=")
		if !ok {
			return fmt.Errorf("%q is no setting of RSS; want off, or %s", word, strings.Join(RSSWords("")[1:], ", "))
		}
		if seen[name] {
			return fmt.Errorf("%s is set twice", name)
		}
		seen[name] = true
		if seen[rssTable] && seen[rssQueues] {
			return errors.New("table and queues exclude each other")
		}
		if err := setRSSWord(&p, &caps, name, value); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if caps.Flags&ndis.RSSIndependentEntryMove != 0 {
		return setRSSV2(ctx, c, binding, &caps, &p)
	}
	var now ndis.ReceiveScaleParameters
	if err := c.Query(ctx, ndis.OIDReceiveScaleParameters, &now); err != nil {
		return err
	}
	if now.HashInformation.Function() == 0 {
		complete(&p, &caps)
	}
	return c.SetAs(ctx, binding, ndis.OIDReceiveScaleParameters, &p)
}

// complete fills in what p leaves unchanged where there is nothing yet.
func complete(p *ndis.ReceiveScaleParameters, caps *ndis.ReceiveScaleCapabilities) {
	if p.Flags&ndis.RSSHashInfoUnchanged != 0 {
		p.HashInformation = ndis.HashToeplitz | plainTypes
	}
	if p.Flags&ndis.RSSHashKeyUnchanged != 0 {
		key := toeplitz.DefaultKey()
		p.Key = key[:]
	}
	if p.Flags&ndis.RSSTableUnchanged != 0 {
		p.Table = inTurn(caps, int(caps.ReceiveQueues))
	}
	p.Flags = 0
}

// inTurn returns a table as long as can be that leads to the first n queues, at
// least one.
func inTurn(caps *ndis.ReceiveScaleCapabilities, n int) []ndis.ProcessorNumber {
	table := make([]ndis.ProcessorNumber, caps.IndirectionEntries)
	for i := range table {
		table[i].Number = uint8(i % max(n, 1))
	}
	return table
}

// setRSSWord takes one setting over.
func setRSSWord(p *ndis.ReceiveScaleParameters, caps *ndis.ReceiveScaleCapabilities, name, value string) (err error) {
	queue := func(s string) (n ndis.ProcessorNumber) {
		q, bad := strconv.ParseUint(s, 10, 8)
		if err == nil && (bad != nil || q >= uint64(caps.ReceiveQueues)) {
			err = fmt.Errorf("%q is no receive queue of this port; want 0 to %d", s, caps.ReceiveQueues-1)
		}
		return ndis.ProcessorNumber{Number: uint8(q)}
	}
	switch name {
	case rssKey:
		p.Flags &^= ndis.RSSHashKeyUnchanged
		p.Key, err = parseKey(value)
	case rssTypes:
		p.Flags &^= ndis.RSSHashInfoUnchanged
		p.HashInformation, err = parseTypes(value)
	case rssTable:
		p.Flags &^= ndis.RSSTableUnchanged
		for _, s := range strings.Split(value, ",") {
			p.Table = append(p.Table, queue(s))
		}
		if n, most := len(p.Table), int(caps.IndirectionEntries); err == nil && (n > most || n&(n-1) != 0) {
			err = fmt.Errorf("%d entries; want a power of two up to %d", n, most)
		}
	case rssQueues:
		p.Flags &^= ndis.RSSTableUnchanged
		n, bad := strconv.ParseUint(value, 10, 8)
		if bad != nil || n < 1 || n > uint64(caps.ReceiveQueues) {
			return fmt.Errorf("%q is no number of receive queues of this port; want 1 to %d", value, caps.ReceiveQueues)
		}
		p.Table = inTurn(caps, int(n))
	case rssDefault:
		p.Flags &^= ndis.RSSDefaultProcessorUnchanged
		p.DefaultProcessor = queue(value)
	default:
		return fmt.Errorf("no such setting of RSS; want off, or %s", strings.Join(RSSWords("")[1:], ", "))
	}
	return err
}

func parseKey(s string) (ndis.Bytes, error) {
	if s == "default" {
		key := toeplitz.DefaultKey()
		return key[:], nil
	}
	b, err := hex.DecodeString(strings.ReplaceAll(s, ":", ""))
	if err != nil {
		return nil, fmt.Errorf("%q: %w; want pairs of hexadecimal digits, or default", s, err)
	}
	if len(b) != ndis.HashKeySize {
		return nil, fmt.Errorf("%q has %d bytes; want %d", s, len(b), ndis.HashKeySize)
	}
	return b, nil
}

func parseTypes(s string) (ndis.HashInformation, error) {
	info := ndis.HashToeplitz
	if s == "all" {
		return info | plainTypes | exTypes, nil
	}
	for _, name := range strings.Split(s, ",") {
		t, ok := hashTypes[name]
		if !ok {
			return 0, fmt.Errorf("there is no hash type %q; there are %s, or all for all", name, strings.Join(slices.Sorted(maps.Keys(hashTypes)), ", "))
		}
		info |= t
	}
	return info, nil
}

// disableRSS turns RSS off.
func disableRSS(ctx context.Context, c *oid.Client, binding uint32) error {
	var caps ndis.ReceiveScaleCapabilities
	if err := c.Query(ctx, ndis.OIDReceiveScaleCapabilities, &caps); err != nil {
		return err
	}
	if caps.Flags&ndis.RSSIndependentEntryMove != 0 {
		return c.SetAs(ctx, binding, ndis.OIDReceiveScaleParametersV2, &ndis.ReceiveScaleParametersV2{})
	}
	return c.SetAs(ctx, binding, ndis.OIDReceiveScaleParameters, &ndis.ReceiveScaleParameters{Revision: 3, Flags: ndis.RSSDisable})
}
