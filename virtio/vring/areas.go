package vring

import "vhost-user-nvgre/virtio/guestmem"

// CheckAreas returns an error when an area of the ring that c describes does
// not lie within one region of m or is not aligned as the ring's format
// demands. It touches no guest memory, so that it may be asked about a ring
// that is running.
func CheckAreas(m *guestmem.Map, c Config) error {
	_, err := mapSplit(m, c)
	return err
}
