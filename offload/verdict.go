package offload

import "vhost-user-nvgre/offload/gso"

// Verdict says what became of a frame. Every Verdict but OK means that the
// frame goes no further, and each is counted by itself.
type Verdict uint8

// Verdicts.
const (
	OK Verdict = iota

	// What Load finds.
	TooShort // no packet header and Ethernet header
	TooLong  // longer than MaxFrame

	// What Admit finds.
	NotNegotiated // the packet header asks for an offload that was not negotiated
	BadChecksum   // csum_start or csum_offset beyond the frame
	BadGSO        // segmentation asked for without a size, a checksum, or a transport header where it is said to be
	TunnelOff     // segmentation asked for inside NVGRE while that is not operational

	// What Deliver finds.
	NoRoom // the sink refused

	// firstRefusal and those after it are the gso package's refusals.
	firstRefusal

	// NumVerdicts is how many values there are, for counters.
	NumVerdicts = firstRefusal + Verdict(gso.NumRefusals)
)

var verdictNames = [...]string{"ok", "short", "long", "header", "checksum", "gso", "nvgre_off", "room"}

// String returns a short name, fit for a counter.
func (v Verdict) String() string {
	if v >= firstRefusal {
		return "gso_" + gso.Refusal(v-firstRefusal).String()
	}
	return verdictNames[v]
}

// refused returns the verdict for a refusal.
func refused(r gso.Refusal) Verdict {
	if r == gso.Accepted {
		return OK
	}
	return firstRefusal + Verdict(r)
}
