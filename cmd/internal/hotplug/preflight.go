package hotplug

import (
	"context"
	"fmt"
	"path"
)

// memdev is guest memory, or may be: an element of query-memdev's result.
type memdev struct {
	ID    string `json:"id"`
	Share *bool  `json:"share"` // nil: QEMU does not tell
}

// checkMemory fails if QMP tells that the daemon could not reach the guest's
// memory, which QEMU itself does not complain about.
func (q *QEMU) checkMemory(ctx context.Context) error {
	var all []memdev
	if err := q.execute(ctx, "query-memdev", nil, &all); err != nil {
		return unlessRefused(err)
	}
	used, err := q.guestMemory(ctx)
	if err != nil {
		return err
	}
	for _, m := range all {
		if m.ID == "" || used != nil && !used[m.ID] {
			continue
		}
		if m.Share != nil && !*m.Share {
			return fmt.Errorf("the guest's memory %q is not shared, so the daemon could not reach it: start QEMU with "+
				"-object memory-backend-memfd,id=mem,size=SIZE,share=on and memory-backend=mem in -machine", m.ID)
		}
		if err := q.checkFile(ctx, m.ID); err != nil {
			return err
		}
	}
	return nil
}

// guestMemory returns the IDs of the memory devices that guest memory consists
// of, nil if that can be any of them, as with NUMA nodes.
func (q *QEMU) guestMemory(ctx context.Context) (map[string]bool, error) {
	var object string
	if err := q.get(ctx, "/machine", "memory-backend", &object); err != nil || object == "" {
		return nil, unlessRefused(err)
	}
	used := map[string]bool{path.Base(object): true}
	var plugged []struct {
		Type string `json:"type"`
		Data struct {
			Memdev string `json:"memdev"`
		} `json:"data"`
	}
	if err := q.execute(ctx, "query-memory-devices", nil, &plugged); err != nil {
		return used, unlessRefused(err)
	}
	for _, p := range plugged {
		if p.Type == "dimm" {
			used[path.Base(p.Data.Memdev)] = true
		}
	}
	return used, nil
}

// checkFile fails if shared memory has no file to hand over: before QEMU 10.0
// that of memory-backend-ram had none.
func (q *QEMU) checkFile(ctx context.Context, id string) error {
	if q.atLeast(10, 0) {
		return nil
	}
	var kind string
	if err := q.get(ctx, "/objects/"+id, "type", &kind); err != nil {
		return unlessRefused(err)
	}
	if kind == "memory-backend-ram" {
		return fmt.Errorf("the guest's memory %q is a memory-backend-ram, which this QEMU (%v) cannot share with the daemon: want memory-backend-memfd with share=on",
			id, q.client.Version())
	}
	return nil
}

// unlessRefused returns err unless QEMU only does not know what it was asked.
func unlessRefused(err error) error {
	if refusal(err) != nil {
		return nil
	}
	return err
}

// checkFrontEnd fails if QEMU has no such device.
//
// It does not ask with qom-list-types, which loads all of QEMU's modules:
// 11.1.3 aborts if one of them does not load.
func (q *QEMU) checkFrontEnd(ctx context.Context, f FrontEnd) error {
	if f != Device {
		return nil
	}
	err := q.execute(ctx, "device-list-properties", map[string]string{"typename": testDevice}, nil)
	if refusal(err) != nil {
		return fmt.Errorf("this QEMU (%v) has no %s, which is in 10.2 and later (%w); use front end %s",
			q.client.Version(), testDevice, err, Netdev)
	}
	return err
}

// msix tells whether the device may have MSI-X. Before 8.0 QEMU ends with a
// segmentation fault when a guest unmasks a vector of a vhost-user device while
// it has no KVM (kvm_virtio_pci_irqfd_use); with one line for all queues it
// works.
func (q *QEMU) msix(ctx context.Context) (bool, error) {
	if q.atLeast(8, 0) {
		return true, nil
	}
	var kvm struct {
		Enabled bool `json:"enabled"`
	}
	err := q.execute(ctx, "query-kvm", nil, &kvm)
	return kvm.Enabled, err
}
