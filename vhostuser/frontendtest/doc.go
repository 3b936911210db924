// Package frontendtest is a vhost-user front end with a guest's driver, for
// tests and load generators: it speaks with a back end in the order that QEMU
// does and owns rings and buffers in memory that both share.
//
// Conn is the bare connection, for messages of any kind. Frontend stands for
// a virtual machine: Handshake, Start, Stop, Reset and Reconnect are what QEMU
// does at those occasions, and its queues send and receive frames. Whoever
// wants to do without copies, or wants to break the format of a ring, finds
// the vringtest.Driver in each queue.
//
// Nothing here needs package testing but the helpers in testing.go.
package frontendtest
