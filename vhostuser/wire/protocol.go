package wire

import (
	"fmt"
	"math/bits"
	"strings"
)

// Bits of the virtio feature word that belong to vhost-user, not to virtio.
const (
	// FeatureLogAll (VHOST_F_LOG_ALL) switches dirty-page logging on.
	FeatureLogAll = 1 << 26
	// FeatureProtocol (VHOST_USER_F_PROTOCOL_FEATURES) announces the protocol
	// feature word; acknowledged, rings start disabled.
	FeatureProtocol = 1 << 30
)

// ProtocolFeatures is a set of protocol features (section "Protocol
// features").
type ProtocolFeatures uint64

// Protocol features, VHOST_USER_PROTOCOL_F_*.
const (
	ProtocolMQ                   ProtocolFeatures = 1 << 0
	ProtocolLogShmFD             ProtocolFeatures = 1 << 1
	ProtocolRARP                 ProtocolFeatures = 1 << 2
	ProtocolReplyAck             ProtocolFeatures = 1 << 3
	ProtocolMTU                  ProtocolFeatures = 1 << 4
	ProtocolBackendReq           ProtocolFeatures = 1 << 5
	ProtocolCrossEndian          ProtocolFeatures = 1 << 6
	ProtocolCryptoSession        ProtocolFeatures = 1 << 7
	ProtocolPagefault            ProtocolFeatures = 1 << 8
	ProtocolConfig               ProtocolFeatures = 1 << 9
	ProtocolBackendSendFD        ProtocolFeatures = 1 << 10
	ProtocolHostNotifier         ProtocolFeatures = 1 << 11
	ProtocolInflightShmFD        ProtocolFeatures = 1 << 12
	ProtocolResetDevice          ProtocolFeatures = 1 << 13
	ProtocolInbandNotifications  ProtocolFeatures = 1 << 14
	ProtocolConfigureMemSlots    ProtocolFeatures = 1 << 15
	ProtocolStatus               ProtocolFeatures = 1 << 16
	ProtocolXenMmap              ProtocolFeatures = 1 << 17
	ProtocolSharedObject         ProtocolFeatures = 1 << 18
	ProtocolDeviceState          ProtocolFeatures = 1 << 19
	ProtocolGetVringBaseInflight ProtocolFeatures = 1 << 20
	ProtocolGPAAddresses         ProtocolFeatures = 1 << 21
	ProtocolShmemMap             ProtocolFeatures = 1 << 22
)

// protocolNames is indexed by bit.
var protocolNames = [...]string{
	"mq", "log_shmfd", "rarp", "reply_ack", "mtu", "backend_req", "cross_endian", "crypto_session", "pagefault",
	"config", "backend_send_fd", "host_notifier", "inflight_shmfd", "reset_device", "inband_notifications",
	"configure_mem_slots", "status", "xen_mmap", "shared_object", "device_state", "get_vring_base_inflight",
	"gpa_addresses", "shmem_map",
}

// Has reports whether every bit of want is set.
func (p ProtocolFeatures) Has(want ProtocolFeatures) bool { return p&want == want }

// Names returns the names of the set bits in ascending order, as the document
// spells them but in lower case and without the prefix; a bit without a name
// appears as "bitN".
func (p ProtocolFeatures) Names() []string {
	names := make([]string, 0, bits.OnesCount64(uint64(p)))
	for rest := p; rest != 0; rest &= rest - 1 {
		bit := bits.TrailingZeros64(uint64(rest))
		if bit < len(protocolNames) {
			names = append(names, protocolNames[bit])
		} else {
			names = append(names, fmt.Sprintf("bit%d", bit))
		}
	}
	return names
}

// String returns the names joined by commas.
func (p ProtocolFeatures) String() string { return strings.Join(p.Names(), ",") }
