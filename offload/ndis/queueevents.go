package ndis

// ReceiveQueueFreeParameters is NDIS_RECEIVE_QUEUE_FREE_PARAMETERS.
type ReceiveQueueFreeParameters struct {
	Flags   uint32
	QueueID uint32 // 1 or higher
}

var freeLayout = layout{"NDIS_RECEIVE_QUEUE_FREE_PARAMETERS", TypeDefault, []int{12}}

// Decode implements Structure.
func (p *ReceiveQueueFreeParameters) Decode(b []byte) error {
	f, _, err := freeLayout.open(b)
	if err == nil {
		*p = ReceiveQueueFreeParameters{f.u32(4), f.u32(8)}
	}
	return err
}

// Encode implements Structure.
func (p *ReceiveQueueFreeParameters) Encode() []byte {
	f := freeLayout.room()
	f.put32(4, p.Flags)
	f.put32(8, p.QueueID)
	return freeLayout.seal(f, 0)
}

// AllocationComplete is NDIS_RECEIVE_QUEUE_ALLOCATION_COMPLETE_PARAMETERS.
type AllocationComplete struct {
	Flags   uint32
	QueueID uint32
	Status  Status // out
}

var completeLayout = layout{"NDIS_RECEIVE_QUEUE_ALLOCATION_COMPLETE_PARAMETERS", TypeDefault, []int{16}}

// Decode implements Structure.
func (p *AllocationComplete) Decode(b []byte) error {
	f, _, err := completeLayout.open(b)
	if err == nil {
		*p = AllocationComplete{f.u32(4), f.u32(8), Status(f.u32(12))}
	}
	return err
}

// Encode implements Structure.
func (p *AllocationComplete) Encode() []byte {
	f := completeLayout.room()
	f.put32(4, p.Flags)
	f.put32(8, p.QueueID)
	f.put32(12, uint32(p.Status))
	return completeLayout.seal(f, 0)
}

// AllocationCompleteArray is NDIS_RECEIVE_QUEUE_ALLOCATION_COMPLETE_ARRAY with
// its elements behind it.
type AllocationCompleteArray struct {
	Flags  uint32
	Queues []AllocationComplete

	// offset and step say where the decoded elements stood.
	offset, step uint32
}

var completeArrayLayout = layout{"NDIS_RECEIVE_QUEUE_ALLOCATION_COMPLETE_ARRAY", TypeDefault, []int{20}}

// Decode implements Structure.
func (a *AllocationCompleteArray) Decode(b []byte) error {
	f, _, err := completeArrayLayout.open(b)
	if err != nil {
		return err
	}
	v := AllocationCompleteArray{Flags: f.u32(4), offset: f.u32(8), step: f.u32(16)}
	elements, err := completeArrayLayout.elements(b, v.offset, f.u32(12), v.step, completeLayout.full(), maxInfos)
	if err != nil {
		return err
	}
	v.Queues = make([]AllocationComplete, len(elements))
	for i, e := range elements {
		if err := v.Queues[i].Decode(e); err != nil {
			return completeArrayLayout.malformed("%v", err)
		}
	}
	*a = v
	return nil
}

// Encode implements Structure.
func (a *AllocationCompleteArray) Encode() []byte {
	f := completeArrayLayout.room()
	f.put32(4, a.Flags)
	f.put32(12, uint32(len(a.Queues)))
	f.put32(16, uint32(completeLayout.full()))
	b := completeArrayLayout.seal(f, 0)
	var tail []byte
	for i := range a.Queues {
		tail = append(tail, a.Queues[i].Encode()...)
	}
	b, at := attach(b, tail)
	fields(b).put32(8, at)
	return b
}

// PutStatuses returns a copy of the bytes that a was decoded from with the
// statuses of the queues written where the sender laid them out.
func (a *AllocationCompleteArray) PutStatuses(b []byte) []byte {
	out := append(fields(nil), b...)
	for i, q := range a.Queues {
		out.put32(int(a.offset)+i*int(a.step)+12, uint32(q.Status))
	}
	return out
}

// ReceiveQueueStateIndication is NDIS_RECEIVE_QUEUE_STATE.
type ReceiveQueueStateIndication struct {
	Flags   uint32
	QueueID uint32
	State   QueueState
}

var queueStateLayout = layout{"NDIS_RECEIVE_QUEUE_STATE", TypeDefault, []int{16}}

// Decode implements Structure.
func (p *ReceiveQueueStateIndication) Decode(b []byte) error {
	f, _, err := queueStateLayout.open(b)
	if err == nil {
		*p = ReceiveQueueStateIndication{f.u32(4), f.u32(8), QueueState(f.u32(12))}
	}
	return err
}

// Encode implements Structure.
func (p *ReceiveQueueStateIndication) Encode() []byte {
	f := queueStateLayout.room()
	f.put32(4, p.Flags)
	f.put32(8, p.QueueID)
	f.put32(12, uint32(p.State))
	return queueStateLayout.seal(f, 0)
}
