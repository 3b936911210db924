// Package wire is the codec of the vhost-user protocol: message headers,
// request numbers, protocol features and payloads, with the rules that a
// message has to obey by itself. It does no I/O and keeps no state; what is
// legal in which state of a session is the business of package vhostuser.
//
// Integers travel in the byte order of the host (section "Message
// Specification"), so both ends run on the same machine.
//
// Section names refer to the "Vhost-user Protocol" document that QEMU 11.1
// ships.
package wire
