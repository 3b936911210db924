package vhostuser

import (
	"errors"
	"fmt"

	"vhost-user-nvgre/vhostuser/wire"
	"vhost-user-nvgre/virtio"
)

// nothing accepts a request that changes nothing.
func (s *session) nothing(*message) error { return nil }

func (s *session) getFeatures(m *message) error {
	return s.answerU64(m, uint64(s.offered)|wire.FeatureProtocol)
}

// setFeatures takes what the driver acknowledged. QEMU repeats it for every
// queue pair while the rings of the pairs before are running, so the backend
// hears of it only when no ring runs.
func (s *session) setFeatures(m *message) error {
	v, err := wire.DecodeU64(m.payload)
	if err != nil {
		return err
	}
	f := virtio.Features(v &^ wire.FeatureProtocol)
	if extra := f &^ s.offered; extra != 0 {
		return fmt.Errorf("features %s were not offered", extra)
	}
	switch {
	case s.running == 0:
		s.features = 0
		if s.featuresErr = s.backend.SetFeatures(f); s.featuresErr == nil {
			s.features = f
			s.startWaiting()
		}
	case f != s.features:
		return fmt.Errorf("features change from %s to %s while %d rings are running", s.features, f, s.running)
	}
	if v&wire.FeatureProtocol == 0 {
		// Section "Ring states": without the bit rings start enabled.
		for i := range s.rings {
			s.enableRing(i, true)
		}
	}
	// The driver chose the features, so a bad choice stops its rings only.
	return tolerate(s.featuresErr)
}

func (s *session) getProtocolFeatures(m *message) error {
	return s.answerU64(m, uint64(protocolOffered))
}

func (s *session) setProtocolFeatures(m *message) error {
	v, err := wire.DecodeU64(m.payload)
	if err != nil {
		return err
	}
	p := wire.ProtocolFeatures(v)
	if extra := p &^ protocolOffered; extra != 0 {
		return fmt.Errorf("protocol features %s were not offered", extra)
	}
	s.protocol = p
	s.notifier.negotiated(p)
	return nil
}

func (s *session) getQueueNum(m *message) error {
	return s.answerU64(m, uint64(s.backend.QueuePairs()))
}

// The requests below belong to features that are not offered, but have a reply
// of their own that a front end would wait for. Each is what QEMU takes for
// "cannot".

func (s *session) refuseWithU64(m *message) error {
	return s.refuse(m, wire.AppendU64(nil, 1))
}

// refusePostcopy answers without the userfaultfd that a success would carry.
func (s *session) refusePostcopy(m *message) error { return s.refuse(m, nil) }

// refuseInflight answers with the size the request had, for QEMU compares it,
// and a buffer of 0 bytes.
func (s *session) refuseInflight(m *message) error {
	clear(m.payload[:16]) // mmap size and offset
	return s.refuse(m, m.payload)
}

// refuseSharedObject answers without a descriptor.
func (s *session) refuseSharedObject(m *message) error { return s.refuse(m, m.payload) }

// refuseDeviceState answers with an error and bit 8, "no descriptor".
func (s *session) refuseDeviceState(m *message) error {
	return s.refuse(m, wire.AppendU64(nil, 1<<8|1))
}

func (s *session) refuse(m *message, payload []byte) error {
	return errors.Join(errUnsupported, s.answer(m, payload))
}

// getShmemConfig answers that there are no shared memory regions.
func (s *session) getShmemConfig(m *message) error {
	return s.answer(m, make([]byte, wire.ShmemConfigSize))
}
