package queues

import "vhost-user-nvgre/offload"

// dropReason says why a frame went no further. Every dropped frame is counted
// under exactly one reason, at the queue named with it.
type dropReason uint8

// Reasons. Those of transmit queues concern the frame itself or where it was
// to go, those of receive queues what the receiver could take.
const (
	dropNone dropReason = iota

	// At the transmit queue.
	dropTxDisabled  // the ring is started but disabled, or its pair is not in use
	dropTxLinkDown  // the port's link is down
	dropTxSourceMAC // group address as source
	dropTxNoPort    // nowhere to go: the destination is behind the port it came from

	// At the receive queue.
	dropRxStopped  // no receive queue is running
	dropRxLinkDown // the port's link is down
	dropRxFilter   // not addressed to the port
	dropRxMTU      // longer than the negotiated MTU
	dropRxFull     // the driver posted too few buffers
	dropRxSmall    // without mergeable buffers: the next buffer is too small
	dropRxFault    // memory vanished, the sender's or a receiver's, or we failed, before it was there

	// dropFrame and those after it are the offload engine's verdicts on the
	// frame, at the transmit queue.
	dropFrame

	numDropReasons = dropFrame + dropReason(offload.NumVerdicts)
)

// dropNames are what `nvgrectl show` prints.
var dropNames = [dropFrame]string{
	dropNone:        "none",
	dropTxDisabled:  "tx_disabled",
	dropTxLinkDown:  "tx_link_down",
	dropTxSourceMAC: "tx_source_mac",
	dropTxNoPort:    "tx_no_port",
	dropRxStopped:   "rx_stopped",
	dropRxLinkDown:  "rx_link_down",
	dropRxFilter:    "rx_filter",
	dropRxMTU:       "rx_mtu",
	dropRxFull:      "rx_full",
	dropRxSmall:     "rx_small",
	dropRxFault:     "rx_fault",
}

func (r dropReason) String() string {
	if r >= dropFrame {
		return "tx_" + offload.Verdict(r-dropFrame).String()
	}
	return dropNames[r]
}

// drops counts dropped frames by reason.
type drops [numDropReasons]uint64

// byName returns the reasons that occurred.
func (d *drops) byName() map[string]uint64 {
	m := map[string]uint64{}
	for r, n := range d {
		if n > 0 {
			m[dropReason(r).String()] = n
		}
	}
	return m
}

// dropOf returns the reason for a verdict of the offload engine.
func dropOf(v offload.Verdict) dropReason { return dropFrame + dropReason(v) }
