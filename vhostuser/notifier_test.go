package vhostuser

import (
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vhost-user-nvgre/vhostuser/frontendtest"
	"vhost-user-nvgre/vhostuser/wire"
)

// channelRig is a session with a running ring and our end of its channel.
func channelRig(t *testing.T, p wire.ProtocolFeatures) (*rig, *frontendtest.Conn) {
	t.Helper()
	r := ready(t, newFake(t))
	r.protocol(p)
	ch := r.channel()
	r.startRing(0)
	r.goesOn()
	return r, ch
}

// channel hands a new channel over and returns our end.
func (r *rig) channel() *frontendtest.Conn {
	r.t.Helper()
	ours, theirs, err := frontendtest.Pair()
	must(r.t, err)
	r.t.Cleanup(func() { ours.Close() })
	must(r.t, r.Do(wire.SetBackendReqFD, nil, int(theirs.Fd())))
	r.goesOn() // before the descriptor goes
	theirs.Close()
	return ours
}

const withChannel = wire.ProtocolConfig | wire.ProtocolBackendReq

// expect receives a message about a change of configuration.
func expect(t *testing.T, ch *frontendtest.Conn, flags uint32) {
	t.Helper()
	m, err := ch.Recv()
	if err != nil {
		t.Fatalf("channel: %v, want a message", err)
	}
	if want := (wire.Header{Request: 2, Flags: flags}); m.Header != want {
		t.Fatalf("channel: %+v, want %+v", m.Header, want)
	}
}

// quiet checks that nothing comes for a while.
func quiet(t *testing.T, ch *frontendtest.Conn) {
	t.Helper()
	was := ch.Timeout
	ch.Timeout = 60 * time.Millisecond
	defer func() { ch.Timeout = was }()
	if m, err := ch.Recv(); err == nil {
		t.Fatalf("channel: got %+v, want nothing", m)
	}
}

// ack acknowledges a message.
func ack(t *testing.T, ch *frontendtest.Conn, v uint64) {
	t.Helper()
	must(t, ch.SendRaw(wire.AppendU64(wire.Reply(2, 8).Append(nil), v)))
}

func TestConfigChange(t *testing.T) {
	r, ch := channelRig(t, withChannel)
	if !r.e.Snapshot().ConfigChannel {
		t.Errorf("Snapshot().ConfigChannel = false, want true")
	}
	for range 3 {
		r.b.frontend().ConfigChanged()
		expect(t, ch, 1)
	}
	quiet(t, ch)

	// A new channel takes the place of the old one.
	second := r.channel()
	must(t, ch.WaitEnd())
	r.b.frontend().ConfigChanged()
	expect(t, second, 1)
}

// TestConfigChangeAcked: with REPLY_ACK one message is under way at a time.
func TestConfigChangeAcked(t *testing.T) {
	r, ch := channelRig(t, withChannel|wire.ProtocolReplyAck)
	r.b.frontend().ConfigChanged()
	expect(t, ch, 9)
	r.b.frontend().ConfigChanged()
	r.b.frontend().ConfigChanged()
	ack(t, ch, 0)
	expect(t, ch, 9)
	ack(t, ch, 1)
	quiet(t, ch)
	if !r.log.has("warn BACKEND_CONFIG_CHANGE_MSG: the front end answered 1, want 0") {
		t.Errorf("log lacks the refusal:\n%s", r.log)
	}

	// Not acknowledged in time: later ones are sent nevertheless, and what
	// then comes in pieces is understood.
	r.b.frontend().ConfigChanged()
	expect(t, ch, 9)
	for !r.log.has("not acknowledged within 100ms") {
		time.Sleep(time.Millisecond)
	}
	late := wire.AppendU64(wire.Reply(2, 8).Append(nil), 0)
	must(t, ch.SendRaw(late[:5]))
	r.b.frontend().ConfigChanged()
	expect(t, ch, 9)
	must(t, ch.SendRaw(late[5:]))
	ack(t, ch, 0)
	r.b.frontend().ConfigChanged()
	expect(t, ch, 9)
	ack(t, ch, 0)
	r.goesOn()
}

// TestConfigChangeSuspended: section "Suspended device state" forbids messages
// while no ring runs. They follow when one does.
func TestConfigChangeSuspended(t *testing.T) {
	r, ch := channelRig(t, withChannel)
	_, err := r.Call(wire.GetVringBase, state(0, 0))
	must(t, err)
	r.b.frontend().ConfigChanged()
	r.b.frontend().ConfigChanged()
	quiet(t, ch)
	must(t, r.Do(wire.SetVringKick, noFD(0)))
	expect(t, ch, 1)
	quiet(t, ch)
}

// TestConfigChangeUnwanted: without CONFIG, or without a channel, nothing is
// sent.
func TestConfigChangeUnwanted(t *testing.T) {
	r, ch := channelRig(t, wire.ProtocolBackendReq)
	r.b.frontend().ConfigChanged()
	quiet(t, ch)
	r = ready(t, newFake(t))
	r.startRing(0)
	r.b.frontend().ConfigChanged()
	r.goesOn()
	if r.e.Snapshot().ConfigChannel {
		t.Errorf("Snapshot().ConfigChannel = true, want false")
	}
}

// TestConfigChangeDeafPeer: a front end that reads nothing delays nobody and
// gets its message when it reads.
func TestConfigChangeDeafPeer(t *testing.T) {
	r, ch := channelRig(t, withChannel)
	deadline := time.Now().Add(10 * time.Second)
	for !r.log.has("the front end does not read its messages") {
		r.b.frontend().ConfigChanged()
		runtime.Gosched() // to the channel's goroutine
		if time.Now().After(deadline) {
			t.Fatalf("the socket never fills:\n%s", r.log)
		}
	}
	r.goesOn()
	n := 0
	for ch.Timeout = 200 * time.Millisecond; ; n++ {
		if _, err := ch.Recv(); err != nil {
			break
		}
	}
	if n == 0 {
		t.Error("no message came")
	}
	r.b.frontend().ConfigChanged()
	ch.Timeout = 10 * time.Second
	expect(t, ch, 1)
}

// TestConfigChangeBrokenChannel: what goes wrong on the channel ends the
// channel, not the session.
func TestConfigChangeBrokenChannel(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer []byte
		log    string
	}{
		{"request instead of a reply", wire.AppendU64(wire.Header{Request: 2, Flags: 1, Size: 8}.Append(nil), 0), "want a reply, got a request"},
		{"reply to another", wire.AppendU64(wire.Reply(3, 8).Append(nil), 0), "want one to request 2"},
		{"reply of another size", wire.AppendU64(wire.Reply(2, 16).Append(nil), 0), "payload of 16 bytes, want 8"},
		{"end", nil, "EOF"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, ch := channelRig(t, withChannel|wire.ProtocolReplyAck)
			r.b.frontend().ConfigChanged()
			expect(t, ch, 9)
			if c.answer != nil {
				must(t, ch.SendRaw(c.answer))
			} else {
				must(t, ch.Close())
			}
			for !r.log.has("warn BACKEND_CONFIG_CHANGE_MSG", c.log, "no further ones on this channel") {
				time.Sleep(time.Millisecond)
			}
			r.b.frontend().ConfigChanged()
			r.goesOn()
			if r.e.Snapshot().ConfigChannel {
				t.Errorf("Snapshot().ConfigChannel = true, want false")
			}
			r.b.frontend().ConfigChanged()
			fresh := r.channel()
			r.b.frontend().ConfigChanged()
			expect(t, fresh, 9)
		})
	}

	r, ch := channelRig(t, withChannel)
	must(t, ch.Close())
	r.b.frontend().ConfigChanged()
	for !r.log.has("BACKEND_CONFIG_CHANGE_MSG", "no further ones") {
		time.Sleep(time.Millisecond)
	}
	r.goesOn()
}

// TestChannelDescriptorKinds: the channel has to be a Unix stream socket.
func TestChannelDescriptorKinds(t *testing.T) {
	pr, pw, err := os.Pipe()
	must(t, err)
	defer pr.Close()
	defer pw.Close()
	dgram, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	must(t, err)
	defer unix.Close(dgram[0])
	defer unix.Close(dgram[1])
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	must(t, err)
	defer udp.Close()
	uf, err := udp.(*net.UDPConn).File()
	must(t, err)
	defer uf.Close()

	r := ready(t, newFake(t))
	r.goesOn()
	before := openFDs(t)
	for name, fd := range map[string]int{"pipe": int(pw.Fd()), "unixgram": dgram[0], "udp": int(uf.Fd())} {
		r.refused(wire.SetBackendReqFD, nil, fd)
		if !r.log.has("warn SET_BACKEND_REQ_FD refused", "socket") {
			t.Errorf("%s: log lacks the reason:\n%s", name, r.log)
		}
	}
	r.refused(wire.SetBackendReqFD, nil)
	r.goesOn()
	if after := openFDs(t); after != before {
		t.Errorf("%d descriptors are open, want %d", after, before)
	}
}
