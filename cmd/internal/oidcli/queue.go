package oidcli

import (
	"context"
	"errors"
	"fmt"

	"vhost-user-nvgre/cmd/internal/oid"
	"vhost-user-nvgre/offload/ndis"
)

// queues returns the receive queues of all drivers, the default queue
// included.
func queues(ctx context.Context, c *oid.Client) ([]ndis.ReceiveQueueInfo, error) {
	var all ndis.ReceiveQueueInfoArray
	err := c.Query(ctx, ndis.OIDFilterEnumQueues, &all)
	return all.Queues, err
}

// queueByID returns a queue, nil if there is none.
func queueByID(ctx context.Context, c *oid.Client, id uint32) (*ndis.ReceiveQueueInfo, error) {
	all, err := queues(ctx, c)
	for i := range all {
		if all[i].QueueID == id {
			return &all[i], nil
		}
	}
	return nil, err
}

// allocate allocates a certain queue. Adapters give out the lowest that is
// free, so those below it are allocated too, and then freed.
func allocate(ctx context.Context, c *oid.Client, binding, id uint32) (err error) {
	var caps ndis.ReceiveFilterCapabilities
	if err := c.Query(ctx, ndis.OIDFilterCurrentCapabilities, &caps); err != nil {
		return err
	}
	if id > caps.NumQueues {
		return fmt.Errorf("there is no queue %d; want 0 to %d", id, caps.NumQueues)
	}
	var below []uint32
	defer func() {
		for _, q := range below {
			err = errors.Join(err, free(ctx, c, binding, q))
		}
	}()
	for {
		p := ndis.ReceiveQueueParameters{Type: ndis.QueueTypeVMQueue, Affinity: ndis.Affinity{Mask: 1}}
		if err := method(ctx, c, binding, ndis.OIDFilterAllocateQueue, &p); err != nil {
			return err
		}
		if p.QueueID == id {
			return nil
		}
		below = append(below, p.QueueID)
		if p.QueueID > id {
			return fmt.Errorf("queue %d has just been allocated by somebody else", id)
		}
	}
}

// run completes the allocation of a queue where that is open.
func run(ctx context.Context, c *oid.Client, binding, id uint32) error {
	q, err := queueByID(ctx, c, id)
	if err != nil || q != nil && q.State == ndis.QueueStateRunning {
		return err
	}
	a := ndis.AllocationCompleteArray{Queues: []ndis.AllocationComplete{{QueueID: id}}}
	if err := method(ctx, c, binding, ndis.OIDFilterAllocationComplete, &a); err != nil {
		return err
	}
	if len(a.Queues) == 1 && a.Queues[0].Status != ndis.StatusSuccess {
		return &oid.StatusError{OID: ndis.OIDFilterAllocationComplete, Status: a.Queues[0].Status, Detail: fmt.Sprintf("queue %d", id)}
	}
	return nil
}

func free(ctx context.Context, c *oid.Client, binding, id uint32) error {
	return c.SetAs(ctx, binding, ndis.OIDFilterFreeQueue, &ndis.ReceiveQueueFreeParameters{QueueID: id})
}
