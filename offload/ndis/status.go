package ndis

import "fmt"

// Status is an NDIS_STATUS: the outcome of a request, or the kind of an
// indication.
type Status uint32

// Outcomes of requests.
const (
	StatusSuccess          Status = 0x00000000
	StatusPending          Status = 0x00000103
	StatusNotAccepted      Status = 0x00010003
	StatusFailure          Status = 0xc0000001
	StatusInvalidParameter Status = 0xc000000d
	StatusResources        Status = 0xc000009a
	StatusNotSupported     Status = 0xc00000bb
	StatusAdapterNotFound  Status = 0xc0010006
	StatusRequestAborted   Status = 0xc001000c
	StatusAdapterNotReady  Status = 0xc0010011
	StatusInvalidLength    Status = 0xc0010014
	StatusInvalidData      Status = 0xc0010015
	StatusBufferTooShort   Status = 0xc0010016
	StatusInvalidOID       Status = 0xc0010017
	StatusFileNotFound     Status = 0xc001001b
	StatusPaused           Status = 0xc023002a
	StatusInvalidPort      Status = 0xc023002d
	StatusInvalidPortState Status = 0xc023002e
	StatusLowPowerState    Status = 0xc023002f
	StatusNoQueues         Status = 0xc0230031
)

// Kinds of indications, with the structure that each carries.
const (
	StatusTaskOffloadCurrentConfig          Status = 0x40020006 // Offload
	StatusTaskOffloadHardwareCapabilities   Status = 0x40020007 // Offload
	StatusOffloadEncapsulationChange        Status = 0x40020008 // OffloadEncapsulation
	StatusReceiveQueueState                 Status = 0x4002000d // ReceiveQueueStateIndication
	StatusReceiveFilterCurrentCapabilities  Status = 0x40020010 // ReceiveFilterCapabilities
	StatusReceiveFilterHardwareCapabilities Status = 0x40020020 // ReceiveFilterCapabilities
	StatusReceiveFilterQueueParameters      Status = 0x40020030 // ReceiveQueueParameters
)

var statusNames = map[Status]string{
	StatusSuccess:          "SUCCESS",
	StatusPending:          "PENDING",
	StatusNotAccepted:      "NOT_ACCEPTED",
	StatusFailure:          "FAILURE",
	StatusInvalidParameter: "INVALID_PARAMETER",
	StatusResources:        "RESOURCES",
	StatusNotSupported:     "NOT_SUPPORTED",
	StatusAdapterNotFound:  "ADAPTER_NOT_FOUND",
	StatusRequestAborted:   "REQUEST_ABORTED",
	StatusAdapterNotReady:  "ADAPTER_NOT_READY",
	StatusInvalidLength:    "INVALID_LENGTH",
	StatusInvalidData:      "INVALID_DATA",
	StatusBufferTooShort:   "BUFFER_TOO_SHORT",
	StatusInvalidOID:       "INVALID_OID",
	StatusFileNotFound:     "FILE_NOT_FOUND",
	StatusPaused:           "PAUSED",
	StatusInvalidPort:      "INVALID_PORT",
	StatusInvalidPortState: "INVALID_PORT_STATE",
	StatusLowPowerState:    "LOW_POWER_STATE",
	StatusNoQueues:         "NO_QUEUES",

	StatusTaskOffloadCurrentConfig:          "TASK_OFFLOAD_CURRENT_CONFIG",
	StatusTaskOffloadHardwareCapabilities:   "TASK_OFFLOAD_HARDWARE_CAPABILITIES",
	StatusOffloadEncapsulationChange:        "OFFLOAD_ENCASPULATION_CHANGE", // NDIS's own spelling
	StatusReceiveQueueState:                 "RECEIVE_QUEUE_STATE",
	StatusReceiveFilterCurrentCapabilities:  "RECEIVE_FILTER_CURRENT_CAPABILITIES",
	StatusReceiveFilterHardwareCapabilities: "RECEIVE_FILTER_HARDWARE_CAPABILITIES",
	StatusReceiveFilterQueueParameters:      "RECEIVE_FILTER_QUEUE_PARAMETERS",
}

// String returns the name with its prefix, such as NDIS_STATUS_SUCCESS.
func (s Status) String() string {
	if n := statusNames[s]; n != "" {
		return "NDIS_STATUS_" + n
	}
	return fmt.Sprintf("0x%08x", uint32(s))
}

// MarshalText is String, for JSON.
func (s Status) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
