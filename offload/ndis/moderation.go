package ndis

// Moderation says what becomes of interrupts (NDIS_INTERRUPT_MODERATION).
type Moderation uint32

// Values of Moderation.
const (
	ModerationUnknown      Moderation = 0
	ModerationNotSupported Moderation = 1
	ModerationEnabled      Moderation = 2 // they are delayed
	ModerationDisabled     Moderation = 3
)

var moderationNames = []string{"UNKNOWN", "NOT_SUPPORTED", "ENABLED", "DISABLED"}

// String returns the name.
func (m Moderation) String() string { return enumName(moderationNames, m) }

// MarshalText is String, for JSON.
func (m Moderation) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// InterruptModeration is NDIS_INTERRUPT_MODERATION_PARAMETERS.
type InterruptModeration struct {
	Flags      uint32 // of an answer: what a change needs; 0: nothing
	Moderation Moderation
}

var moderationLayout = layout{"NDIS_INTERRUPT_MODERATION_PARAMETERS", TypeDefault, []int{12}}

// Decode implements Structure.
func (p *InterruptModeration) Decode(b []byte) error {
	f, _, err := moderationLayout.open(b)
	if err == nil {
		*p = InterruptModeration{f.u32(4), Moderation(f.u32(8))}
	}
	return err
}

// Encode implements Structure.
func (p *InterruptModeration) Encode() []byte {
	f := moderationLayout.room()
	f.put32(4, p.Flags)
	f.put32(8, uint32(p.Moderation))
	return moderationLayout.seal(f, 0)
}
