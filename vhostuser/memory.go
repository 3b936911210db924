package vhostuser

import (
	"fmt"

	"vhost-user-nvgre/vhostuser/wire"
	"vhost-user-nvgre/virtio/guestmem"
	"vhost-user-nvgre/virtio/vring"
)

// maxMemSlots is the answer to GET_MAX_MEM_SLOTS: the number of slots that KVM
// has, less those that QEMU needs itself. It must not become smaller: a front
// end that reconnects may have filled them all.
const maxMemSlots = 509

func (s *session) getMaxMemSlots(m *message) error { return s.answerU64(m, maxMemSlots) }

// setMemTable replaces the whole map, or leaves it as it was.
func (s *session) setMemTable(m *message) error {
	infos, err := wire.DecodeMemTable(m.payload)
	if err != nil {
		return err
	}
	if len(m.fds) != len(infos) {
		return fmt.Errorf("%d descriptors for %d regions", len(m.fds), len(infos))
	}
	var regions []*guestmem.Region
	for i, info := range infos {
		r, err := guestmem.MapRegion(m.fds[i], guestmem.RegionInfo(info))
		if err != nil {
			s.unmap(regions)
			return err
		}
		regions = append(regions, r)
	}
	next, err := guestmem.NewMap(regions...)
	if err != nil {
		s.unmap(regions)
		return err
	}
	s.swapMemory(next, s.mem.Regions())
	return nil
}

// addMemReg adds a region. QEMU before 9.0 sends each once per queue pair, so
// the same region again is no fault.
func (s *session) addMemReg(m *message) error {
	region, err := wire.DecodeSingleRegion(m.payload)
	if err != nil {
		return err
	}
	info := guestmem.RegionInfo(region)
	for _, r := range s.mem.Regions() {
		if r.RegionInfo == info {
			return nil
		}
	}
	if n := len(s.mem.Regions()); n >= maxMemSlots {
		return fmt.Errorf("memory region %s: all %d slots are in use", info, n)
	}
	if len(m.fds) == 0 {
		return fmt.Errorf("memory region %s: no descriptor came", info)
	}
	r, err := guestmem.MapRegion(m.fds[0], info)
	if err != nil {
		return err
	}
	next, err := s.mem.With(r)
	if err != nil {
		s.unmap([]*guestmem.Region{r})
		return err
	}
	s.swapMemory(next, nil)
	return nil
}

// remMemReg removes a region. For the reason that addMemReg gives, one that is
// gone already is no fault.
func (s *session) remMemReg(m *message) error {
	region, err := wire.DecodeSingleRegion(m.payload)
	if err != nil {
		return err
	}
	next, gone, err := s.mem.Without(guestmem.RegionInfo(region))
	if err != nil {
		s.log.Debugf("%s: %v", m.request, err)
		return nil
	}
	s.swapMemory(next, []*guestmem.Region{gone})
	return nil
}

// swapMemory makes next the map and unmaps the regions that it lacks. Rings
// that lie in those stop first, and go on where they were when a later message
// brings the memory back: QEMU changes the extent of a region by removing and
// adding it.
func (s *session) swapMemory(next *guestmem.Map, gone []*guestmem.Region) {
	for i := range s.rings {
		r := &s.rings[i]
		if !r.running {
			continue
		}
		if err := vring.CheckAreas(next, r.config(s.features)); err != nil {
			s.stopRing(i)
			r.fault = err
		}
	}
	s.backend.SetMemory(next)
	s.mem = next
	s.unmap(gone)
	s.startWaiting()
}

// unmap ends mappings that nobody uses any more.
func (s *session) unmap(regions []*guestmem.Region) {
	for _, r := range regions {
		if err := r.Unmap(); err != nil {
			s.log.Warnf("memory region %s: munmap: %v", r.RegionInfo, err)
		}
	}
}
