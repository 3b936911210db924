// Package control is the daemon's local control socket: HTTP and JSON over a
// Unix socket, described for other clients in docs/control-socket.md. It has
// the documents that are exchanged, the server and a client.
//
// Who may use it is decided by the permissions of the socket file. Those who
// may are still not trusted to be correct or quick.
package control
