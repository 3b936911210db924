// Package virtio holds what the virtio 1.x specification fixes for a network
// device: feature bits and their dependencies, the per-packet header, the
// configuration space and the control queue's messages.
//
// Everything here is arithmetic on bytes. Guest memory is in virtio/guestmem,
// rings are in virtio/vring; nothing in this package touches either.
//
// Section numbers refer to the OASIS specification "Virtual I/O Device
// (VIRTIO)" version 1.4, chapter "Network Device".
package virtio
