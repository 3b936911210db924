// Package oid carries OID requests, their completions and indications between
// drivers and the adapters of the daemon's ports, over anything that is a
// stream: Unix sockets and AF_VSOCK. It has the messages, a server and a
// client. docs/oid-protocol.md describes the protocol for other clients.
package oid

// AdminSocket returns the path of the socket for administrators, given that of
// the control socket.
func AdminSocket(control string) string { return control + ".oid" }
