package ctrl

import (
	"fmt"

	"vhost-user-nvgre/virtio"
)

// Classes of commands.
const (
	ClassRX            = 0
	ClassMAC           = 1
	ClassVLAN          = 2
	ClassAnnounce      = 3
	ClassMQ            = 4
	ClassGuestOffloads = 5
	ClassNotfCoal      = 6
	ClassHashTunnel    = 7
	ClassStats         = 8
)

// Command is one decoded command: RX, MACTable, MACAddr, VLAN, AnnounceAck,
// Pairs, RSS, HashConfig, GuestOffloads, Coal, QueueCoal, QueueCoalGet,
// HashTunnel, StatsQuery or StatsGet.
type Command interface {
	// Code returns the class and the command within it.
	Code() (class, cmd uint8)
	// AppendData appends the command-specific data as a driver sends it.
	AppendData(b []byte) []byte
}

// Limits says what a command may ask for.
type Limits struct {
	Features    virtio.Features // negotiated
	QueuePairs  uint16          // max_virtqueue_pairs, 1 to virtio.MaxQueuePairs
	KeySize     uint8           // rss_max_key_size
	TableLen    uint16          // rss_max_indirection_table_length
	HashTypes   uint32          // supported_hash_types
	TunnelTypes uint32          // supported_tunnel_types
	StatTypes   uint64          // statistics the device keeps, a mask of Stat bits
}

// form is what the specification fixes for one command.
type form struct {
	class, cmd uint8
	name       string          // without VIRTIO_NET_CTRL_
	needs      virtio.Features // one of them must have been negotiated
	decode     func(l *Limits, data []byte) (Command, error)
}

var forms = [...]form{
	{ClassRX, 0, "RX_PROMISC", virtio.FeatureCtrlRX, rx(Promisc)},
	{ClassRX, 1, "RX_ALLMULTI", virtio.FeatureCtrlRX, rx(AllMulti)},
	{ClassRX, 2, "RX_ALLUNI", virtio.FeatureCtrlRXExtra, rx(AllUni)},
	{ClassRX, 3, "RX_NOMULTI", virtio.FeatureCtrlRXExtra, rx(NoMulti)},
	{ClassRX, 4, "RX_NOUNI", virtio.FeatureCtrlRXExtra, rx(NoUni)},
	{ClassRX, 5, "RX_NOBCAST", virtio.FeatureCtrlRXExtra, rx(NoBcast)},
	{ClassMAC, 0, "MAC_TABLE_SET", virtio.FeatureCtrlRX, decodeMACTable},
	// The text names CTRL_RX for the whole class and CTRL_MAC_ADDR for this
	// command.
	{ClassMAC, 1, "MAC_ADDR_SET", virtio.FeatureCtrlMACAddr | virtio.FeatureCtrlRX, decodeMACAddr},
	{ClassVLAN, 0, "VLAN_ADD", virtio.FeatureCtrlVLAN, vlan(true)},
	{ClassVLAN, 1, "VLAN_DEL", virtio.FeatureCtrlVLAN, vlan(false)},
	{ClassAnnounce, 0, "ANNOUNCE_ACK", virtio.FeatureGuestAnnounce, decodeAnnounceAck},
	{ClassMQ, 0, "MQ_VQ_PAIRS_SET", virtio.FeatureMQ, decodePairs},
	{ClassMQ, 1, "MQ_RSS_CONFIG", virtio.FeatureRSS, decodeRSS},
	{ClassMQ, 2, "MQ_HASH_CONFIG", virtio.FeatureHashReport, decodeHashConfig},
	{ClassGuestOffloads, 0, "GUEST_OFFLOADS_SET", virtio.FeatureCtrlGuestOffload, decodeGuestOffloads},
	{ClassNotfCoal, 0, "NOTF_COAL_TX_SET", virtio.FeatureNotfCoal, coal(false)},
	{ClassNotfCoal, 1, "NOTF_COAL_RX_SET", virtio.FeatureNotfCoal, coal(true)},
	{ClassNotfCoal, 2, "NOTF_COAL_VQ_SET", virtio.FeatureVQNotfCoal, decodeQueueCoal},
	{ClassNotfCoal, 3, "NOTF_COAL_VQ_GET", virtio.FeatureVQNotfCoal, decodeQueueCoalGet},
	{ClassHashTunnel, 0, "HASH_TUNNEL_SET", virtio.FeatureHashTunnel, decodeHashTunnel},
	{ClassStats, 0, "STATS_QUERY", virtio.FeatureDeviceStats, decodeStatsQuery},
	{ClassStats, 1, "STATS_GET", virtio.FeatureDeviceStats, decodeStatsGet},
}

// Decode returns the command that the bytes stand for. An error says what is
// wrong with them; the driver is to get VIRTIO_NET_ERR and nothing changes
// (VNET-180). The command keeps nothing of data.
func (l *Limits) Decode(class, cmd uint8, data []byte) (Command, error) {
	for i := range forms {
		f := &forms[i]
		if f.class != class || f.cmd != cmd {
			continue
		}
		if l.Features&f.needs == 0 {
			return nil, fmt.Errorf("%s: needs feature %s, which was not negotiated", f.name, f.needs)
		}
		c, err := f.decode(l, data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
		return c, nil
	}
	return nil, fmt.Errorf("unknown command: class %d, command %d", class, cmd)
}

// Name returns how the specification names a command, without the prefix
// VIRTIO_NET_CTRL_, for logs.
func Name(class, cmd uint8) string {
	for i := range forms {
		if f := &forms[i]; f.class == class && f.cmd == cmd {
			return f.name
		}
	}
	return fmt.Sprintf("class %d command %d", class, cmd)
}

// wantLen returns an error unless data is n bytes long.
func wantLen(data []byte, n int) error {
	if len(data) != n {
		return fmt.Errorf("%d bytes of data, want %d", len(data), n)
	}
	return nil
}
