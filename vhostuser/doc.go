// Package vhostuser is the back-end side of the vhost-user protocol: it owns
// the socket of one port, runs the session of whatever front end is connected
// and calls the Backend behind it.
//
// An Endpoint opens the socket and serves one front end after the other. A
// session reads a message, applies its effect and only then replies, all on
// one goroutine, so that a Backend is never called concurrently by it. The
// messages that the back end sends of its own accord leave from a goroutine
// of their own: a front end that waits for one of our replies does not read
// them, and must not be waited for.
//
// The peer is not trusted. A request that can be refused by itself is refused;
// a byte stream that cannot be understood ends the session, and nothing else.
// When a session ends, every descriptor and mapping that came with it is given
// back.
//
// Section names in comments refer to the "Vhost-user Protocol" document that
// QEMU 11.1 ships.
package vhostuser
