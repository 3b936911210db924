// Package harness boots test guests and drives them.
//
// Boot starts QEMU with a stock kernel and the project's initramfs and returns
// when the agent in the guest takes commands. The VM it returns runs commands
// and moves files through the agent, drives QEMU over QMP, and plugs NICs in
// and out. Everything waits for the thing itself, an answer, an event, a line
// of output, never for time to pass.
//
// Nothing stays behind: processes die with the one that started them even if
// that is killed, channels to QEMU are inherited sockets without names, and
// folders with sockets are swept by the next run if this one could not.
//
// The package works outside tests too. The functions that take a T are
// conveniences on top of those that return errors.
package harness
