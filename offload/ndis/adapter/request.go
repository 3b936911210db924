package adapter

import (
	"errors"
	"fmt"

	"vhost-user-nvgre/offload/ndis"
)

// RequestType says what is wanted of an object (NDIS_REQUEST_TYPE).
type RequestType uint8

// Request types.
const (
	Query  RequestType = 1
	Set    RequestType = 2
	Method RequestType = 3
)

var requestTypeNames = [...]string{Query: "query", Set: "set", Method: "method"}

// String returns the name.
func (t RequestType) String() string {
	if t >= Query && t <= Method {
		return requestTypeNames[t]
	}
	return fmt.Sprintf("request type %d", uint8(t))
}

// UserMode is the Binding of those that are no driver: administrators and
// statistics.
const UserMode uint32 = 0

// Request is an OID request.
type Request struct {
	Type RequestType
	OID  ndis.OID
	// Binding tells protocol drivers apart. Receive queues and filters belong
	// to the binding that made them.
	Binding uint32
	// Input is the information buffer of a set, and what a method is given. It
	// is not kept.
	Input []byte
	// OutputLength is the room for what a query or a method returns, in bytes.
	OutputLength int
}

// Response completes a request.
type Response struct {
	Status ndis.Status
	Output []byte
	// BytesNeeded is how large the buffer would have to be that was too short.
	BytesNeeded int
	// BytesRead is how much of a set's buffer was used.
	BytesRead int
	// SupportedRevision is the revision of the structure in a set as far as it
	// was understood, 0 where there is none.
	SupportedRevision uint8
	// Detail says in words why a request failed, for people.
	Detail string
}

// call is a request being handled, with the state it may change.
type call struct {
	*Request
	*Response
	a *Adapter
	s *state // a copy; becomes the adapter's when the handler succeeds

	keywords    Keywords // nil: they stay
	indications []indication
}

type indication struct {
	status ndis.Status
	body   []byte
}

// fail sets why a request fails and returns status.
func (c *call) fail(status ndis.Status, format string, args ...any) ndis.Status {
	c.Detail = fmt.Sprintf(format, args...)
	return status
}

// decode reads the request's structure. For a buffer that is too short it
// returns INVALID_LENGTH, for one that is malformed the status given.
func (c *call) decode(s ndis.Structure, malformed ndis.Status) ndis.Status {
	err := s.Decode(c.Input)
	if err == nil {
		c.BytesRead = len(c.Input)
		return ndis.StatusSuccess
	}
	c.Detail = err.Error()
	var format *ndis.FormatError
	if errors.As(err, &format) && format.Need > 0 {
		c.BytesNeeded = format.Need
		return ndis.StatusInvalidLength
	}
	return malformed
}

// answer returns b to the caller if there is room, else the status given.
func (c *call) answer(b []byte, short ndis.Status) ndis.Status {
	if len(b) > c.OutputLength {
		c.BytesNeeded = len(b)
		return c.fail(short, "room for %d bytes, want %d", c.OutputLength, len(b))
	}
	c.Output = b
	return ndis.StatusSuccess
}

// indicate has something indicated when the request has taken effect.
func (c *call) indicate(status ndis.Status, s ndis.Structure) {
	c.indications = append(c.indications, indication{status, s.Encode()})
}

// handler handles a request on c.s. What it returns other than SUCCESS leaves
// the adapter as it is.
type handler func(c *call) ndis.Status

// operations are the handlers of an OID; nil where it does not take such
// requests.
type operations struct {
	query, set, method handler
}

func (o *operations) of(t RequestType) handler {
	switch t {
	case Query:
		return o.query
	case Set:
		return o.set
	case Method:
		return o.method
	}
	return nil
}

var table map[ndis.OID]operations

// The handlers refer to the table through Adapter.Handle, so that it cannot be
// initialised where it is declared.
func init() {
	table = map[ndis.OID]operations{
		ndis.OIDTCPOffloadHardwareCaps:  {query: queryHardware},
		ndis.OIDTCPOffloadCurrentConfig: {query: queryCurrent},
		ndis.OIDTCPOffloadParameters:    {set: setParameters},
		ndis.OIDOffloadEncapsulation:    {query: queryFraming, set: setFraming},
		ndis.OIDInterruptModeration:     {query: queryModeration, set: setModeration},
		ndis.OIDStatistics:              {query: queryStatistics},
		ndis.OIDTCPRSCStatistics:        {query: queryRSCStatistics},

		ndis.OIDReceiveScaleCapabilities: {query: queryRSSCapabilities},
		ndis.OIDReceiveScaleParameters:   {query: queryRSS, set: setRSS},
		ndis.OIDReceiveScaleParametersV2: {query: queryRSSV2, set: setRSSV2},
		ndis.OIDRSSSetIndirectionEntries: {method: moveEntries},
		ndis.OIDReceiveHash:              {query: queryHash, set: setHash},

		ndis.OIDFilterHardwareCapabilities: {query: queryFilterHardware},
		ndis.OIDFilterCurrentCapabilities:  {query: queryFilterCurrent},
		ndis.OIDFilterGlobalParameters:     {query: queryFilterGlobal},
		ndis.OIDFilterAllocateQueue:        {method: allocateQueue},
		ndis.OIDFilterAllocationComplete:   {method: completeAllocation},
		ndis.OIDFilterFreeQueue:            {set: freeQueue},
		ndis.OIDFilterEnumQueues:           {query: enumQueues},
		ndis.OIDFilterQueueParameters:      {method: queryQueue, set: setQueue},
		ndis.OIDFilterSetFilter:            {method: setFilter},
		ndis.OIDFilterClearFilter:          {set: clearFilter},
		ndis.OIDFilterEnumFilters:          {method: enumFilters},
		ndis.OIDFilterParameters:           {method: queryFilter},
		ndis.OIDFilterMoveFilter:           {set: moveFilter},
	}
}
