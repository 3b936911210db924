package vhostuser

import (
	"errors"
	"fmt"

	"vhost-user-nvgre/vhostuser/wire"
)

// getConfig answers with as many bytes as were asked for. A reply without
// payload means that they cannot be had.
func (s *session) getConfig(m *message) error {
	c, err := wire.DecodeConfig(m.payload)
	if err != nil {
		return err
	}
	if err := c.Validate(); err != nil {
		return errors.Join(err, s.answer(m, nil))
	}
	s.backend.ReadConfig(c.Bytes, c.Offset)
	return s.answer(m, m.payload)
}

// setConfig passes on what is mostly a guest's write.
func (s *session) setConfig(m *message) error {
	c, err := wire.DecodeConfig(m.payload)
	if err != nil {
		return err
	}
	if err := c.Validate(); err != nil {
		return err
	}
	return tolerate(s.backend.WriteConfig(c.Bytes, c.Offset))
}

// netSetMTU without an acknowledgement counts as accepted; larger frames are
// then dropped.
func (s *session) netSetMTU(m *message) error {
	mtu, err := wire.DecodeU64(m.payload)
	if err != nil {
		return err
	}
	return tolerate(s.backend.SetMTU(mtu))
}

func (s *session) setStatus(m *message) error {
	v, err := wire.DecodeU64(m.payload)
	if err != nil {
		return err
	}
	if v > 0xff {
		return fmt.Errorf("device status 0x%x, want at most 0xff", v)
	}
	s.backend.SetStatus(uint8(v))
	return nil
}

// statusFeaturesOK is set by a driver when it has acknowledged features and
// stays set when the device can do with them.
const statusFeaturesOK = 8

func (s *session) getStatus(m *message) error {
	status := s.backend.Status()
	if s.featuresErr != nil {
		status &^= statusFeaturesOK
	}
	return s.answerU64(m, uint64(status))
}

// resetDevice brings rings and device into their initial state. Descriptors
// other than for kicks stay, and so do memory, features and the owner: the
// front end does not send them again.
func (s *session) resetDevice(*message) error {
	for i := range s.rings {
		s.haltRing(i)
		s.rings[i].enabled = false
	}
	s.backend.Reset()
	return nil
}

// setBackendReqFD takes the channel for our own requests.
func (s *session) setBackendReqFD(m *message) error {
	fd, ok := m.takeFD()
	if !ok {
		return errors.New("no descriptor came")
	}
	return s.notifier.connect(fd)
}
