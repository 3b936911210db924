package offload

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
	BadGSO        // segmentation asked for a frame it does not fit

	// What Deliver finds.
	NoRoom // the sink refused

	NumVerdicts
)
