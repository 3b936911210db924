// Package nvgre tests what the NIC does with tunnelled traffic of stock guests:
// large sends, checksums, receive filters and frames that are wrong, from packet
// sockets; and Linux's own implementation of the tunnel, gretap.
package nvgre
