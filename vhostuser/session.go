package vhostuser

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"vhost-user-nvgre/vhostuser/wire"
	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/guestmem"
)

// protocolOffered is what a session implements, neither more nor less: QEMU
// acknowledges every bit it has a number for, even those it does not
// implement itself.
const protocolOffered = wire.ProtocolMQ | wire.ProtocolReplyAck | wire.ProtocolMTU | wire.ProtocolBackendReq |
	wire.ProtocolConfig | wire.ProtocolResetDevice | wire.ProtocolConfigureMemSlots | wire.ProtocolStatus

// featuresWithheld are bits that no backend can have here, whatever it says:
// the protocol's own two, addresses that need an IOTLB, and the reset of a
// single queue, for which vhost-user has no message, so that a driver's new
// ring would never become known.
const featuresWithheld = wire.FeatureLogAll | wire.FeatureProtocol |
	virtio.FeatureAccessPlatform | virtio.FeatureRingReset

// maxComplaints bounds the log lines that one front end can cause at a level
// that operators see.
const maxComplaints = 100

// session is the state of one connection. It belongs to the goroutine that
// runs it, but for the notifier.
type session struct {
	conn    *conn
	backend Backend
	log     Logger
	publish func(*session)

	offered     virtio.Features // constant for the session: asked for repeatedly
	features    virtio.Features
	featuresErr error // why the backend refused the features, until it takes some
	protocol    wire.ProtocolFeatures
	mem         *guestmem.Map
	rings       []ring
	running     int // rings that the backend has started
	notifier    *notifier
	complaints  int
}

func newSession(c *conn, b Backend, log Logger, publish func(*session), n *notifier) *session {
	return &session{
		conn: c, backend: b, log: log, publish: publish, notifier: n,
		offered: b.Features() &^ featuresWithheld,
		mem:     &guestmem.Map{},
		rings:   make([]ring, b.NumQueues()),
	}
}

// run serves the connection until it ends, gives everything back and returns
// why: io.EOF when the front end closed it between two messages. No message is
// begun once ctx is done, however many have come.
func (s *session) run(ctx context.Context) error {
	// A front end can truncate the file behind its memory, after which whoever
	// touches that memory, such as a backend that starts a ring, gets SIGBUS.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	s.backend.Attach(s.notifier)
	defer s.release()
	s.publish(s)
	for ctx.Err() == nil {
		m, err := s.conn.read()
		if err != nil {
			return err
		}
		err = s.handleGuarded(m)
		m.closeFDs()
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

// release detaches the backend and frees what the front end had sent.
func (s *session) release() {
	s.notifier.close()
	s.backend.Detach()
	for i := range s.rings {
		s.rings[i].release()
	}
	s.unmap(s.mem.Regions())
}

// handlers has the requests that do something. The others are refused.
var handlers = [wire.NumRequests]func(*session, *message) error{
	wire.GetFeatures:         (*session).getFeatures,
	wire.SetFeatures:         (*session).setFeatures,
	wire.SetOwner:            (*session).nothing,
	wire.ResetOwner:          (*session).nothing, // deprecated; "may be ignored"
	wire.SetMemTable:         (*session).setMemTable,
	wire.SetVringNum:         (*session).setVringNum,
	wire.SetVringAddr:        (*session).setVringAddr,
	wire.SetVringBase:        (*session).setVringBase,
	wire.GetVringBase:        (*session).getVringBase,
	wire.SetVringKick:        (*session).setVringKick,
	wire.SetVringCall:        (*session).setVringCall,
	wire.SetVringErr:         (*session).setVringErr,
	wire.GetProtocolFeatures: (*session).getProtocolFeatures,
	wire.SetProtocolFeatures: (*session).setProtocolFeatures,
	wire.GetQueueNum:         (*session).getQueueNum,
	wire.SetVringEnable:      (*session).setVringEnable,
	wire.NetSetMTU:           (*session).netSetMTU,
	wire.SetBackendReqFD:     (*session).setBackendReqFD,
	wire.IOTLBMsg:            (*session).refuseWithU64,
	wire.GetConfig:           (*session).getConfig,
	wire.SetConfig:           (*session).setConfig,
	wire.PostcopyAdvise:      (*session).refusePostcopy,
	wire.PostcopyEnd:         (*session).refuseWithU64,
	wire.GetInflightFD:       (*session).refuseInflight,
	wire.ResetDevice:         (*session).resetDevice,
	wire.GetMaxMemSlots:      (*session).getMaxMemSlots,
	wire.AddMemReg:           (*session).addMemReg,
	wire.RemMemReg:           (*session).remMemReg,
	wire.SetStatus:           (*session).setStatus,
	wire.GetStatus:           (*session).getStatus,
	wire.GetSharedObject:     (*session).refuseSharedObject,
	wire.SetDeviceStateFD:    (*session).refuseDeviceState,
	wire.CheckDeviceState:    (*session).refuseWithU64,
	wire.GetShmemConfig:      (*session).getShmemConfig,
}

// handleGuarded is handle, but a fault in guest memory ends the session and
// not the process. It is the last resort: a backend with locks to release
// guards itself.
func (s *session) handleGuarded(m *message) (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case interface{ Addr() uintptr }: // of a fault, see debug.SetPanicOnFault
			if !s.mem.Contains(r.Addr()) {
				panic(r)
			}
			err = fmt.Errorf("%s: guest memory at 0x%x of this process is gone; its file was truncated", m.request, r.Addr())
		default:
			panic(r)
		}
	}()
	return s.handle(m)
}

// handle applies a request and answers it. An error ends the session.
func (s *session) handle(m *message) error {
	s.log.Debugf("%s, %d bytes, %d descriptors, flags 0x%x", m.request, m.Size, len(m.fds), m.Flags)
	shape := m.request.Shape()
	if len(m.fds) > shape.FDs {
		if shape.FDs > 0 {
			return fmt.Errorf("%s: %d descriptors, want at most %d", m.request, len(m.fds), shape.FDs)
		}
		s.complain("%s: closed %d descriptors that it should not carry", m.request, len(m.fds))
		m.closeFDs()
	}
	err := errUnsupported
	if m.request.Known() && handlers[m.request] != nil {
		err = handlers[m.request](s, m)
	}
	return s.conclude(m, shape, err)
}

// conclude acknowledges a request if the front end waits for that, and decides
// whether an error ends the session. A front end that is told of it by the
// acknowledgement can decide itself; one that would wait for a reply in vain
// learns of it by the end of the connection.
func (s *session) conclude(m *message, shape wire.Shape, err error) error {
	if errors.Is(err, errNotSent) {
		return err
	}
	ack := !m.answered && m.NeedReply() && (s.protocol.Has(wire.ProtocolReplyAck) || shape.Insists)
	if err != nil {
		_, harmless := errors.AsType[*tolerable](err)
		if !m.answered && (shape.Replies || !ack && !harmless) {
			return fmt.Errorf("%s: %w", m.request, err)
		}
		s.complain("%s refused: %v", m.request, err)
	}
	switch {
	case m.answered:
		return nil
	case !ack:
		s.publish(s)
		return nil
	case err != nil:
		return s.answerU64(m, 1)
	default:
		return s.answerU64(m, 0)
	}
}

// answer sends a reply. Whoever gets it finds the effect of the request in the
// snapshot, and its descriptors closed that were not needed.
func (s *session) answer(m *message, payload []byte) error {
	m.answered = true
	m.closeFDs()
	s.publish(s)
	return s.conn.reply(m.request, payload)
}

// answerU64 is answer with one number.
func (s *session) answerU64(m *message, v uint64) error {
	return s.answer(m, wire.AppendU64(nil, v))
}

// complain logs a fault of the front end that the session survives.
func (s *session) complain(format string, args ...any) {
	s.complaints++
	switch {
	case s.complaints > maxComplaints:
		s.log.Debugf(format, args...)
	case s.complaints == maxComplaints:
		s.log.Warnf(format, args...)
		s.log.Warnf("%d faults of this front end; further ones are logged at debug level", maxComplaints)
	default:
		s.log.Warnf(format, args...)
	}
}

// tolerable marks a fault that the session survives even when the front end
// cannot be told of it: one that the guest may have caused, or a request that
// may as well not have come.
type tolerable struct{ err error }

func (e *tolerable) Error() string { return e.err.Error() }
func (e *tolerable) Unwrap() error { return e.err }

// tolerate wraps an error, and passes nil through.
func tolerate(err error) error {
	if err == nil {
		return nil
	}
	return &tolerable{err}
}

var errUnsupported error = &tolerable{errors.New("not supported")}
