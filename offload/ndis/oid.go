package ndis

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// OID is an object identifier.
type OID uint32

// Object identifiers.
const (
	OIDReceiveScaleCapabilities   OID = 0x00010203 // query: ReceiveScaleCapabilities
	OIDReceiveScaleParameters     OID = 0x00010204 // query, set: ReceiveScaleParameters
	OIDInterruptModeration        OID = 0x00010209 // query, set: InterruptModeration
	OIDReceiveScaleParametersV2   OID = 0x00010214 // query, set: ReceiveScaleParametersV2
	OIDReceiveHash                OID = 0x0001021f // query, set: ReceiveHashParameters
	OIDRSSSetIndirectionEntries   OID = 0x000102c0 // method: RSSSetIndirectionEntries
	OIDOffloadEncapsulation       OID = 0x0101010a // query, set: OffloadEncapsulation
	OIDTCPOffloadCurrentConfig    OID = 0xfc01020b // query: Offload
	OIDTCPOffloadParameters       OID = 0xfc01020c // set: OffloadParameters
	OIDTCPOffloadHardwareCaps     OID = 0xfc01020d // query: Offload
	OIDStatistics                 OID = 0x00020106 // query: Statistics
	OIDTCPRSCStatistics           OID = 0x0002021d // query: RSCStatistics
	OIDFilterHardwareCapabilities OID = 0x00010221 // query: ReceiveFilterCapabilities
	OIDFilterGlobalParameters     OID = 0x00010222 // query: ReceiveFilterGlobalParameters
	OIDFilterAllocateQueue        OID = 0x00010223 // method: ReceiveQueueParameters
	OIDFilterFreeQueue            OID = 0x00010224 // set: ReceiveQueueFreeParameters
	OIDFilterEnumQueues           OID = 0x00010225 // query: ReceiveQueueInfoArray
	OIDFilterQueueParameters      OID = 0x00010226 // method, set: ReceiveQueueParameters
	OIDFilterSetFilter            OID = 0x00010227 // method: ReceiveFilterParameters
	OIDFilterClearFilter          OID = 0x00010228 // set: ReceiveFilterClearParameters
	OIDFilterEnumFilters          OID = 0x00010229 // method: ReceiveFilterInfoArray
	OIDFilterParameters           OID = 0x0001022a // method: ReceiveFilterParameters
	OIDFilterAllocationComplete   OID = 0x0001022b // method: ReceiveQueueAllocationCompleteArray
	OIDFilterCurrentCapabilities  OID = 0x0001022d // query: ReceiveFilterCapabilities
	OIDFilterMoveFilter           OID = 0x00010230 // set: ReceiveFilterMoveParameters
)

var oidNames = map[OID]string{
	OIDReceiveScaleCapabilities:   "OID_GEN_RECEIVE_SCALE_CAPABILITIES",
	OIDReceiveScaleParameters:     "OID_GEN_RECEIVE_SCALE_PARAMETERS",
	OIDInterruptModeration:        "OID_GEN_INTERRUPT_MODERATION",
	OIDReceiveScaleParametersV2:   "OID_GEN_RECEIVE_SCALE_PARAMETERS_V2",
	OIDReceiveHash:                "OID_GEN_RECEIVE_HASH",
	OIDRSSSetIndirectionEntries:   "OID_GEN_RSS_SET_INDIRECTION_TABLE_ENTRIES",
	OIDOffloadEncapsulation:       "OID_OFFLOAD_ENCAPSULATION",
	OIDTCPOffloadCurrentConfig:    "OID_TCP_OFFLOAD_CURRENT_CONFIG",
	OIDTCPOffloadParameters:       "OID_TCP_OFFLOAD_PARAMETERS",
	OIDTCPOffloadHardwareCaps:     "OID_TCP_OFFLOAD_HARDWARE_CAPABILITIES",
	OIDStatistics:                 "OID_GEN_STATISTICS",
	OIDTCPRSCStatistics:           "OID_TCP_RSC_STATISTICS",
	OIDFilterHardwareCapabilities: "OID_RECEIVE_FILTER_HARDWARE_CAPABILITIES",
	OIDFilterGlobalParameters:     "OID_RECEIVE_FILTER_GLOBAL_PARAMETERS",
	OIDFilterAllocateQueue:        "OID_RECEIVE_FILTER_ALLOCATE_QUEUE",
	OIDFilterFreeQueue:            "OID_RECEIVE_FILTER_FREE_QUEUE",
	OIDFilterEnumQueues:           "OID_RECEIVE_FILTER_ENUM_QUEUES",
	OIDFilterQueueParameters:      "OID_RECEIVE_FILTER_QUEUE_PARAMETERS",
	OIDFilterSetFilter:            "OID_RECEIVE_FILTER_SET_FILTER",
	OIDFilterClearFilter:          "OID_RECEIVE_FILTER_CLEAR_FILTER",
	OIDFilterEnumFilters:          "OID_RECEIVE_FILTER_ENUM_FILTERS",
	OIDFilterParameters:           "OID_RECEIVE_FILTER_PARAMETERS",
	OIDFilterAllocationComplete:   "OID_RECEIVE_FILTER_QUEUE_ALLOCATION_COMPLETE",
	OIDFilterCurrentCapabilities:  "OID_RECEIVE_FILTER_CURRENT_CAPABILITIES",
	OIDFilterMoveFilter:           "OID_RECEIVE_FILTER_MOVE_FILTER",
}

// OIDs returns the identifiers that there are, ascending.
func OIDs() []OID {
	var all []OID
	for o := range oidNames {
		all = append(all, o)
	}
	slices.Sort(all)
	return all
}

// String returns the name, such as OID_TCP_OFFLOAD_PARAMETERS.
func (o OID) String() string {
	if n := oidNames[o]; n != "" {
		return n
	}
	return fmt.Sprintf("0x%08x", uint32(o))
}

// ParseOID takes a name, in upper or lower case, with or without the OID_ in
// front, or a number.
func ParseOID(s string) (OID, error) {
	name := strings.ToUpper(s)
	for o, n := range oidNames {
		if n == name || n == "OID_"+name {
			return o, nil
		}
	}
	if n, err := strconv.ParseUint(s, 0, 32); err == nil {
		return OID(n), nil
	}
	return 0, fmt.Errorf("there is no OID %q; want a name such as %s, or a number", s, OIDTCPOffloadCurrentConfig)
}
