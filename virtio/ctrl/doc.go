// Package ctrl is the codec of a network device's control queue: it turns the
// bytes of a command into a typed Command, checked against what was negotiated
// and what the device can do, and back; and it reads commands from, and writes
// acknowledgements to, the scattered buffers of a ring.
//
// Nothing here does I/O or keeps state between commands. All multi-byte fields
// are little-endian.
//
// Section "Control Virtqueue" of the specification "Virtual I/O Device
// (VIRTIO)" version 1.4, chapter "Network Device", is the source unless a
// comment says otherwise.
package ctrl
