// Package adapter is the state of an NVGRE-capable NDIS 6.30+ network adapter
// as object identifiers show and change it: hardware capabilities, persisted
// keywords, current configuration, link-layer framing, encapsulation, receive
// side scaling, receive hash, receive queues and filters. It plays NDIS, which
// answers most queries itself, assigns ids, persists keywords and serialises
// requests, and the miniport below it.
//
// Every set request is all or nothing: it is carried out on a copy of the
// state, the copy is compiled to a Setting, the Setting is put into force, and
// only then the copy becomes the state, indications are made and the request
// completes.
//
// OIDs are not the only way to change it: an administrator does (SetStart), and
// so does the NIC's own driver by commands (Adopt). Whoever comes last has set
// it, and the others are told by an indication. What the driver does not take
// at the moment is as if it had not negotiated it, but for the hardware
// capabilities.
//
// Where NDIS is silent or contradicts itself:
//
//   - Before OID_OFFLOAD_ENCAPSULATION was ever set, large send and UDP
//     segmentation work as configured, for there are drivers that do not know
//     NDIS. Turned off by it they stop, and the current configuration shows
//     nothing of that IP version.
//   - Receive coalescing is off, and not in the current configuration, until
//     OID_TCP_OFFLOAD_PARAMETERS enables it.
//   - The tunnel masks of the current configuration say what is enabled,
//     EncapsulationTypes what is active. Checksums of tunnelled packets are
//     validated for an inner IP version if all its checksums are enabled.
//   - A request of the right form for something that the hardware lacks is
//     INVALID_PARAMETER, a malformed one INVALID_DATA for offload parameters
//     and INVALID_PARAMETER elsewhere, a short buffer INVALID_LENGTH, and
//     BUFFER_TOO_SHORT for the hardware capabilities.
//   - A request that a queue's state forbids is INVALID_PARAMETER.
package adapter
