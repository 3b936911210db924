package vhostuser

import (
	"errors"
	"fmt"

	"vhost-user-nvgre/vhostuser/wire"
	"vhost-user-nvgre/virtio"
	"vhost-user-nvgre/virtio/eventfd"
	"vhost-user-nvgre/virtio/vring"
)

// ring is what the front end said about a ring, and what became of it.
type ring struct {
	size    uint32
	addr    wire.VringAddr
	placed  bool // addr has come
	base    uint32
	enabled bool
	// started is the state that the document gives the ring; running that the
	// backend has it. They differ when it could not be started, or while the
	// memory that it lies in is gone.
	started, running bool
	fault            error // why a started ring is not running

	kick *eventfd.FD // nil in a started ring: poll
	call *eventfd.FD
	err  *eventfd.FD
}

// release gives back what belongs to the ring.
func (r *ring) release() {
	r.kick.Close()
	r.call.Close()
	r.err.Close()
}

func (r *ring) config(f virtio.Features) vring.Config {
	return vring.Config{
		Size: r.size, Desc: r.addr.Desc, Avail: r.addr.Avail, Used: r.addr.Used, Base: r.base, Features: f,
	}
}

// configured reports whether everything has come that a start needs.
func (r *ring) configured() bool { return r.size != 0 && r.placed }

// ringAt returns the ring with an index that the front end named.
func (s *session) ringAt(index uint32) (*ring, error) {
	if uint64(index) >= uint64(len(s.rings)) {
		return nil, fmt.Errorf("ring %d: the device has %d rings (%d queue pairs)", index, len(s.rings), s.backend.QueuePairs())
	}
	return &s.rings[index], nil
}

// ringState decodes a vring state description and finds its ring.
func (s *session) ringState(m *message) (*ring, wire.VringState, error) {
	v, err := wire.DecodeVringState(m.payload)
	if err != nil {
		return nil, v, err
	}
	r, err := s.ringAt(v.Index)
	return r, v, err
}

func (s *session) setVringNum(m *message) error {
	r, v, err := s.ringState(m)
	if err != nil {
		return err
	}
	if v.Num == 0 || v.Num > vring.MaxSize {
		return fmt.Errorf("ring %d: size %d, want 1 to %d", v.Index, v.Num, vring.MaxSize)
	}
	if r.running && v.Num != r.size {
		return fmt.Errorf("ring %d: size changes from %d to %d while it is running", v.Index, r.size, v.Num)
	}
	r.size = v.Num
	return s.startLate(int(v.Index))
}

// setVringAddr may come while the ring runs (section "Ring states"): it then
// moves.
func (s *session) setVringAddr(m *message) error {
	a, err := wire.DecodeVringAddr(m.payload)
	if err != nil {
		return err
	}
	r, err := s.ringAt(a.Index)
	if err != nil {
		return err
	}
	if a.Flags&wire.VringLog != 0 {
		return fmt.Errorf("ring %d: logging of the used ring is asked for, but LOG_ALL was not offered", a.Index)
	}
	a.Log = 0 // means nothing without the flag
	if r.placed && r.addr == a {
		return nil
	}
	if r.running {
		s.stopRing(int(a.Index))
	}
	r.addr, r.placed = a, true
	return s.startLate(int(a.Index))
}

func (s *session) setVringBase(m *message) error {
	r, v, err := s.ringState(m)
	if err != nil {
		return err
	}
	if r.running {
		return fmt.Errorf("ring %d: base is set while it is running", v.Index)
	}
	r.base = v.Num
	return nil
}

// getVringBase stops the ring. There is no reply that means failure, so for a
// ring that does not exist the session ends.
func (s *session) getVringBase(m *message) error {
	r, v, err := s.ringState(m)
	if err != nil {
		return err
	}
	s.haltRing(int(v.Index))
	return s.answer(m, wire.VringState{Index: v.Index, Num: r.base}.Append(nil))
}

func (s *session) setVringEnable(m *message) error {
	_, v, err := s.ringState(m)
	if err != nil {
		return err
	}
	if v.Num > 1 {
		return fmt.Errorf("ring %d: enable %d, want 0 or 1", v.Index, v.Num)
	}
	s.enableRing(int(v.Index), v.Num == 1)
	return nil
}

func (s *session) enableRing(i int, on bool) {
	s.rings[i].enabled = on
	s.backend.SetQueueEnabled(i, on)
}

// ringFD decodes the payload of SET_VRING_KICK, _CALL or _ERR and takes the
// eventfd that comes with it; nil stands for "no descriptor".
func (s *session) ringFD(m *message) (*ring, int, *eventfd.FD, error) {
	v, err := wire.DecodeVringFD(m.payload)
	if err != nil {
		return nil, 0, nil, err
	}
	i := int(v.Index)
	r, err := s.ringAt(uint32(i))
	if err != nil || v.NoFD {
		return r, i, nil, err
	}
	fd, ok := m.takeFD()
	if !ok {
		return nil, i, nil, fmt.Errorf("ring %d: no descriptor came and bit 8 does not say so", i)
	}
	e, err := eventfd.Adopt(fd)
	if err != nil {
		m.fds = append(m.fds, fd) // still the message's
		return nil, i, nil, fmt.Errorf("ring %d: %w", i, err)
	}
	return r, i, e, nil
}

// setVringKick starts the ring (section "Ring states"), whether or not there
// has been a kick.
func (s *session) setVringKick(m *message) error {
	r, i, kick, err := s.ringFD(m)
	if err != nil {
		return err
	}
	old := r.kick
	r.kick, r.started = kick, true
	if r.running {
		s.backend.SetQueueKick(i, kick)
	}
	old.Close()
	if r.running {
		return nil
	}
	return s.startRing(i)
}

func (s *session) setVringCall(m *message) error {
	r, i, call, err := s.ringFD(m)
	if err != nil {
		return err
	}
	old := r.call
	r.call = call
	s.backend.SetQueueCall(i, call)
	old.Close()
	return nil
}

func (s *session) setVringErr(m *message) error {
	r, i, e, err := s.ringFD(m)
	if err != nil {
		return err
	}
	old := r.err
	r.err = e
	s.backend.SetQueueErr(i, e)
	old.Close()
	return nil
}

// startRing has the backend start a ring. A failure may be the guest's doing
// (it chooses size and place), so it is reported on the ring's error eventfd
// and costs the session nothing.
func (s *session) startRing(i int) error {
	r := &s.rings[i]
	if r.fault = s.tryStart(i); r.fault != nil {
		if r.err != nil {
			_ = r.err.Signal() // nobody is left to tell
		}
		return tolerate(fmt.Errorf("ring %d does not start: %w", i, r.fault))
	}
	r.running = true
	s.running++
	s.notifier.setActive(true)
	return nil
}

func (s *session) tryStart(i int) error {
	r := &s.rings[i]
	switch {
	case s.featuresErr != nil:
		return fmt.Errorf("features were refused: %w", s.featuresErr)
	case r.size == 0:
		return errors.New("SET_VRING_NUM has not come")
	case !r.placed:
		return errors.New("SET_VRING_ADDR has not come")
	}
	c := r.config(s.features)
	if err := vring.CheckAreas(s.mem, c); err != nil {
		return err
	}
	return s.backend.StartQueue(i, c, r.kick)
}

// startLate starts a ring whose start had to wait for what has just come.
func (s *session) startLate(i int) error {
	if r := &s.rings[i]; !r.started || r.running || !r.configured() {
		return nil
	}
	return s.startRing(i)
}

// startWaiting starts the rings whose start had to wait for memory or features.
func (s *session) startWaiting() {
	for i := range s.rings {
		r := &s.rings[i]
		if !r.started || r.running || !r.configured() || vring.CheckAreas(s.mem, r.config(s.features)) != nil {
			continue
		}
		if err := s.startRing(i); err != nil {
			s.complain("%v", err)
		}
	}
}

// stopRing has the backend stop a running ring and keeps its position.
func (s *session) stopRing(i int) {
	r := &s.rings[i]
	r.base = s.backend.StopQueue(i)
	r.running = false
	if s.running--; s.running == 0 {
		s.notifier.setActive(false)
	}
}

// haltRing puts a ring into the stopped state, in which it has no kick
// descriptor.
func (s *session) haltRing(i int) {
	r := &s.rings[i]
	if r.running {
		s.stopRing(i)
	}
	r.kick.Close()
	r.kick, r.started, r.fault = nil, false, nil
}
