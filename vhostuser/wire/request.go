package wire

import "fmt"

// Request is the number of a message from the front end (section "Front-end
// message types").
type Request uint32

// Requests of a front end.
const (
	GetFeatures         Request = 1
	SetFeatures         Request = 2
	SetOwner            Request = 3
	ResetOwner          Request = 4
	SetMemTable         Request = 5
	SetLogBase          Request = 6
	SetLogFD            Request = 7
	SetVringNum         Request = 8
	SetVringAddr        Request = 9
	SetVringBase        Request = 10
	GetVringBase        Request = 11
	SetVringKick        Request = 12
	SetVringCall        Request = 13
	SetVringErr         Request = 14
	GetProtocolFeatures Request = 15
	SetProtocolFeatures Request = 16
	GetQueueNum         Request = 17
	SetVringEnable      Request = 18
	SendRARP            Request = 19
	NetSetMTU           Request = 20
	SetBackendReqFD     Request = 21
	IOTLBMsg            Request = 22
	SetVringEndian      Request = 23
	GetConfig           Request = 24
	SetConfig           Request = 25
	CreateCryptoSession Request = 26
	CloseCryptoSession  Request = 27
	PostcopyAdvise      Request = 28
	PostcopyListen      Request = 29
	PostcopyEnd         Request = 30
	GetInflightFD       Request = 31
	SetInflightFD       Request = 32
	GPUSetSocket        Request = 33
	ResetDevice         Request = 34
	VringKick           Request = 35
	GetMaxMemSlots      Request = 36
	AddMemReg           Request = 37
	RemMemReg           Request = 38
	SetStatus           Request = 39
	GetStatus           Request = 40
	GetSharedObject     Request = 41
	SetDeviceStateFD    Request = 42
	CheckDeviceState    Request = 43
	GetShmemConfig      Request = 44
	NumRequests                 = 45 // one more than the largest number
)

// Shape says what a message may look like, whatever the state of the session.
type Shape struct {
	Name     string
	Min, Max uint32 // payload, bytes
	FDs      int    // descriptors it may carry
	// Replies: the message has a reply of its own; REPLY_ACK adds nothing.
	Replies bool
	// Insists: the front end waits for an acknowledgement when it sets
	// FlagNeedReply even if REPLY_ACK was not negotiated.
	Insists bool
}

// Sizes of fixed payloads.
const (
	u64Size       = 8
	stateSize     = 8
	addrSize      = 40
	regionSize    = 32
	tableHead     = 8
	singleSize    = 8 + regionSize
	logSize       = 16
	configHead    = 12
	inflightSize  = 20
	inflightCSize = 24 // with the padding at the end that a C compiler adds
	uuidSize      = 16
)

// MaxTableRegions is the number of regions that fit in a memory table.
const MaxTableRegions = 8

// MaxConfig is the size in bytes of the largest device configuration space
// that the protocol carries. The document names no bound; QEMU's buffer has
// this one.
const MaxConfig = 256

// shapes is indexed by request. Payloads are exact in size but where trailing
// room is known to occur: the table, which a front end may send with all its
// slots, and the inflight description, whose C struct is padded.
var shapes = [NumRequests]Shape{
	GetFeatures:         {Name: "GET_FEATURES", Replies: true},
	SetFeatures:         {Name: "SET_FEATURES", Min: u64Size, Max: u64Size},
	SetOwner:            {Name: "SET_OWNER"},
	ResetOwner:          {Name: "RESET_OWNER"},
	SetMemTable:         {Name: "SET_MEM_TABLE", Min: tableHead, Max: tableHead + MaxTableRegions*regionSize, FDs: MaxTableRegions},
	SetLogBase:          {Name: "SET_LOG_BASE", Min: u64Size, Max: logSize, FDs: 1},
	SetLogFD:            {Name: "SET_LOG_FD", Max: u64Size, FDs: 1},
	SetVringNum:         {Name: "SET_VRING_NUM", Min: stateSize, Max: stateSize},
	SetVringAddr:        {Name: "SET_VRING_ADDR", Min: addrSize, Max: addrSize},
	SetVringBase:        {Name: "SET_VRING_BASE", Min: stateSize, Max: stateSize},
	GetVringBase:        {Name: "GET_VRING_BASE", Min: stateSize, Max: stateSize, Replies: true},
	SetVringKick:        {Name: "SET_VRING_KICK", Min: u64Size, Max: u64Size, FDs: 1},
	SetVringCall:        {Name: "SET_VRING_CALL", Min: u64Size, Max: u64Size, FDs: 1},
	SetVringErr:         {Name: "SET_VRING_ERR", Min: u64Size, Max: u64Size, FDs: 1},
	GetProtocolFeatures: {Name: "GET_PROTOCOL_FEATURES", Replies: true},
	SetProtocolFeatures: {Name: "SET_PROTOCOL_FEATURES", Min: u64Size, Max: u64Size},
	GetQueueNum:         {Name: "GET_QUEUE_NUM", Replies: true},
	SetVringEnable:      {Name: "SET_VRING_ENABLE", Min: stateSize, Max: stateSize},
	SendRARP:            {Name: "SEND_RARP", Min: u64Size, Max: u64Size},
	NetSetMTU:           {Name: "NET_SET_MTU", Min: u64Size, Max: u64Size},
	SetBackendReqFD:     {Name: "SET_BACKEND_REQ_FD", FDs: 1},
	IOTLBMsg:            {Name: "IOTLB_MSG", Min: 26, Max: 32, Replies: true},
	SetVringEndian:      {Name: "SET_VRING_ENDIAN", Min: stateSize, Max: stateSize},
	GetConfig:           {Name: "GET_CONFIG", Min: configHead, Max: configHead + MaxConfig, Replies: true},
	SetConfig:           {Name: "SET_CONFIG", Min: configHead, Max: configHead + MaxConfig},
	CreateCryptoSession: {Name: "CREATE_CRYPTO_SESSION", Max: MaxPayload, Replies: true},
	CloseCryptoSession:  {Name: "CLOSE_CRYPTO_SESSION", Min: u64Size, Max: u64Size},
	PostcopyAdvise:      {Name: "POSTCOPY_ADVISE", Replies: true},
	PostcopyListen:      {Name: "POSTCOPY_LISTEN", Insists: true},
	PostcopyEnd:         {Name: "POSTCOPY_END", Replies: true},
	GetInflightFD:       {Name: "GET_INFLIGHT_FD", Min: inflightSize, Max: inflightCSize, Replies: true},
	SetInflightFD:       {Name: "SET_INFLIGHT_FD", Min: inflightSize, Max: inflightCSize, FDs: 1},
	GPUSetSocket:        {Name: "GPU_SET_SOCKET", FDs: 1},
	ResetDevice:         {Name: "RESET_DEVICE"},
	VringKick:           {Name: "VRING_KICK", Min: stateSize, Max: stateSize},
	GetMaxMemSlots:      {Name: "GET_MAX_MEM_SLOTS", Replies: true},
	AddMemReg:           {Name: "ADD_MEM_REG", Min: singleSize, Max: singleSize, FDs: 1},
	RemMemReg:           {Name: "REM_MEM_REG", Min: singleSize, Max: singleSize, FDs: 1},
	SetStatus:           {Name: "SET_STATUS", Min: u64Size, Max: u64Size},
	GetStatus:           {Name: "GET_STATUS", Replies: true},
	GetSharedObject:     {Name: "GET_SHARED_OBJECT", Min: uuidSize, Max: uuidSize, Replies: true},
	SetDeviceStateFD:    {Name: "SET_DEVICE_STATE_FD", Min: 8, Max: 8, FDs: 1, Replies: true},
	CheckDeviceState:    {Name: "CHECK_DEVICE_STATE", Replies: true},
	GetShmemConfig:      {Name: "GET_SHMEM_CONFIG", Replies: true},
}

// Known reports whether the document defines r.
func (r Request) Known() bool { return r < NumRequests && shapes[r].Name != "" }

// Shape returns what a message of this kind looks like. An unknown request
// may have any payload and needs no descriptors.
func (r Request) Shape() Shape {
	if r.Known() {
		return shapes[r]
	}
	return Shape{Name: fmt.Sprintf("request %d", uint32(r)), Max: MaxPayload}
}

// String returns the name that the document gives the request, without the
// VHOST_USER_ prefix.
func (r Request) String() string { return r.Shape().Name }

// CheckSize returns a *SizeError unless a payload of size bytes is possible.
func (r Request) CheckSize(size uint32) error {
	if s := r.Shape(); size < s.Min || size > s.Max {
		return &SizeError{What: s.Name, Size: int(size), Min: int(s.Min), Max: int(s.Max)}
	}
	return nil
}

// BackendRequest is the number of a message from the back end, on the channel
// of SET_BACKEND_REQ_FD (section "Back-end message types").
type BackendRequest uint32

// Requests of a back end.
const (
	BackendIOTLBMsg           BackendRequest = 1
	BackendConfigChange       BackendRequest = 2
	BackendVringHostNotifier  BackendRequest = 3
	BackendVringCall          BackendRequest = 4
	BackendVringErr           BackendRequest = 5
	BackendSharedObjectAdd    BackendRequest = 6
	BackendSharedObjectRemove BackendRequest = 7
	BackendSharedObjectLookup BackendRequest = 8
	BackendShmemMap           BackendRequest = 9
	BackendShmemUnmap         BackendRequest = 10
)

var backendNames = [...]string{
	BackendIOTLBMsg:           "BACKEND_IOTLB_MSG",
	BackendConfigChange:       "BACKEND_CONFIG_CHANGE_MSG",
	BackendVringHostNotifier:  "BACKEND_VRING_HOST_NOTIFIER_MSG",
	BackendVringCall:          "BACKEND_VRING_CALL",
	BackendVringErr:           "BACKEND_VRING_ERR",
	BackendSharedObjectAdd:    "BACKEND_SHARED_OBJECT_ADD",
	BackendSharedObjectRemove: "BACKEND_SHARED_OBJECT_REMOVE",
	BackendSharedObjectLookup: "BACKEND_SHARED_OBJECT_LOOKUP",
	BackendShmemMap:           "BACKEND_SHMEM_MAP",
	BackendShmemUnmap:         "BACKEND_SHMEM_UNMAP",
}

// String returns the name that the document gives the request, without the
// VHOST_USER_ prefix.
func (r BackendRequest) String() string {
	if int64(r) < int64(len(backendNames)) && backendNames[r] != "" {
		return backendNames[r]
	}
	return fmt.Sprintf("back-end request %d", uint32(r))
}
